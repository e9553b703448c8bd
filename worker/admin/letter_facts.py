"""What is shown of dead letters and unrouted events: a row of each, or all that may be shown."""

from collections.abc import Sequence
from datetime import datetime

from worker.admin.cells import Cell
from worker.deadletters.reading import Known

LETTER_COLUMNS = (
    "request_id message_id source reason encrypted attempts last_error first_seen age".split()
)
EVENT_COLUMNS = "request_id source outcome routing_key published age".split()
_MORE = "correlation_id reply_to app_id user_id routing_key traceparent other_headers".split()


def letter_row(letter: object, columns: Sequence[str], now: datetime) -> list[Cell]:
    """Return what stands under these columns; the last is the age by the time before it."""
    row = [getattr(letter, name) for name in columns[:-1]]
    return [*row, row[-1] and now - row[-1]]


def letter_facts(known: Known, now: datetime) -> dict[str, Cell]:
    """Return all that may be shown of a dead letter but for its body."""
    row = letter_row(known, LETTER_COLUMNS, now)
    more = {name: getattr(known, name) for name in _MORE}
    return {**dict(zip(LETTER_COLUMNS, row, strict=True)), **more, "bytes": known.size}
