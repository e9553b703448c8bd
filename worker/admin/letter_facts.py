"""What is shown of dead letters: a row of each, or all that may be shown of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from worker.admin.cells import Cell
    from worker.deadletters.reading import Known

LETTER_COLUMNS = (
    "request_id",
    "message_id",
    "source",
    "reason",
    "encrypted",
    "attempts",
    "last_error",
    "first_seen",
    "age",
)


def letter_row(known: Known, now: datetime) -> tuple[Cell, ...]:
    """Return a letter's cells under `LETTER_COLUMNS`."""
    seen = known.first_seen
    return (
        known.request_id,
        known.message_id,
        known.source,
        known.reason,
        known.encrypted,
        known.attempts,
        known.last_error,
        seen,
        None if seen is None else now - seen,
    )


def letter_facts(known: Known, now: datetime) -> dict[str, Cell]:
    """Return all that may be shown of a letter but for its body."""
    return {
        **dict(zip(LETTER_COLUMNS, letter_row(known, now), strict=True)),
        "correlation_id": known.correlation_id,
        "reply_to": known.reply_to,
        "app_id": known.app_id,
        "user_id": known.user_id,
        "routing_key": known.routing_key,
        "traceparent": known.traceparent,
        "other_headers": known.other_headers,
        "bytes": known.size,
    }
