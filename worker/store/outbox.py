"""The outbox: results whose event nobody is known to have sent.

The main line marks an event about a second after it was sent. What stays unmarked has lost its
worker, and perhaps its message: the relay sends it. Each mode's workers send their own events,
for the other mode may have another broker.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, text

from worker.core.claims import Envelope
from worker.core.operations import UNSENT_SECONDS
from worker.core.outcome import StoredResult
from worker.core.request import Mode
from worker.ports import Outbox
from worker.store.engine import execute
from worker.store.rows import RESULT_COLUMNS, UNSENT, from_columns, stored_result

# How long a taken event is left to who took it. A relay that lives renews this every 10 s to 22 s.
HELD_SECONDS = 60.0

# No lock is held while we publish: the rows are stamped instead, and stamps of a relay that
# crashed run out. A stamp further ahead than any relay sets it is of a clock that was set back; so
# is an end that lies ahead. Two relays at once skip each other's locked rows, then their stamps.
TAKE_UNSENT = text(f"""
WITH unsent AS (
  SELECT request_id FROM verification.request
   WHERE {UNSENT} AND completed_at NOT BETWEEN now() - make_interval(secs => :unsent_for)
                                          AND now() + make_interval(secs => :unsent_for)
     AND (event_retry_at IS NULL OR event_retry_at < now()
       OR event_retry_at > now() + make_interval(secs => 2 * :held_for)) AND mode = :mode
   ORDER BY completed_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE verification.request
   SET event_retry_at = now() + make_interval(secs => :held_for)
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM unsent))
RETURNING {RESULT_COLUMNS}, reply_to, correlation_id, traceparent
""")

_STILL_UNSENT = """
WITH unsent AS (
  SELECT request_id FROM verification.request
   WHERE request_id = ANY(CAST(:ids AS text[])) AND event_sent_at IS NULL
   ORDER BY request_id FOR NO KEY UPDATE
)
UPDATE verification.request SET {} WHERE request_id = ANY(ARRAY(SELECT request_id FROM unsent))
"""
HOLD = text(_STILL_UNSENT.format("event_retry_at = now() + make_interval(secs => :held_for)"))
MARK_SENT = text(_STILL_UNSENT.format("event_sent_at = now()"))

# The relay looks at what is a minute old: whoever asks for it again need not wait so long.
ANNOUNCE_AGAIN = text("""
UPDATE verification.request SET event_sent_at = NULL, event_retry_at = NULL
 WHERE request_id = :request_id AND completed_at IS NOT NULL
RETURNING request_id
""")


class PostgresOutbox(Outbox):
    """The `Outbox` in PostgreSQL, for one mode."""

    def __init__(self, engine: Engine, mode: Mode) -> None:
        self._engine = engine
        self._mode = mode

    def take(self, limit: int) -> list[tuple[StoredResult, Envelope]]:
        """Take the oldest unsent results (see `ports.Outbox`)."""
        asked = {"mode": self._mode.value, "limit": limit}
        times = {"unsent_for": UNSENT_SECONDS, "held_for": HELD_SECONDS}
        rows = execute(self._engine, TAKE_UNSENT, **asked, **times)
        return [(stored_result(row), from_columns(Envelope, row)) for row in rows]

    def hold(self, request_ids: Sequence[str]) -> None:
        """Keep what was taken (see `ports.Outbox`)."""
        execute(self._engine, HOLD, ids=list(request_ids), held_for=HELD_SECONDS)

    def mark_sent(self, request_ids: Sequence[str]) -> None:
        """Mark events as sent (see `ports.Outbox`)."""
        execute(self._engine, MARK_SENT, ids=list(request_ids))


def announce_again(engine: Engine, request_id: str) -> bool:
    """Mark a result as unsent, so that a relay announces it; return whether there is one."""
    return bool(execute(engine, ANNOUNCE_AGAIN, request_id=request_id))
