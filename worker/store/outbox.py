"""The outbox: results whose event nobody is known to have sent.

The main line marks an event about a second after it was sent. What stays unmarked has lost its
worker, and perhaps its message: the relay sends it. Each mode's workers send their own events,
for the other mode may have another broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from worker.core.claims import AlreadyDone, Envelope
from worker.store.engine import connection
from worker.store.rows import standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine, Row

    from worker.core.outcome import StoredResult
    from worker.core.request import Mode

# A result this old was not announced on the main line: that takes one second, and a crashed
# worker's message, which brings its event by itself, is delivered again within a few.
UNSENT_SECONDS = 60.0
# How long a taken event is left to who took it. A relay that lives renews this every 10 s to 22 s.
HELD_SECONDS = 60.0

# No lock is held while we publish: the rows are stamped instead, and stamps of a relay that
# crashed run out. Two relays at once skip each other's locked rows, and then their stamps.
TAKE_UNSENT = text("""
WITH unsent AS (
  SELECT request_id FROM verification.request
   WHERE completed_at < now() - make_interval(secs => :unsent_for) AND event_sent_at IS NULL
     AND (event_retry_at IS NULL OR event_retry_at < now()) AND mode = :mode
   ORDER BY completed_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE verification.request
   SET event_retry_at = now() + make_interval(secs => :held_for)
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM unsent))
RETURNING request_id, source, check_type, mode, state, calls, charged, context::text AS context,
  outcome, auth_success, auth_has_exception, auth_code, auth_message, auth_detail,
  provider_request_id, error_kind, error_message, error_fields, reused_from, requested_at,
  completed_at, settled_at, reply_to, correlation_id, traceparent
""")

HOLD = text("""
WITH held AS (
  SELECT request_id FROM verification.request
   WHERE request_id = ANY(CAST(:ids AS text[])) AND event_sent_at IS NULL
   ORDER BY request_id FOR NO KEY UPDATE
)
UPDATE verification.request
   SET event_retry_at = now() + make_interval(secs => :held_for)
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM held))
""")

MARK_SENT = text("""
WITH sent AS (
  SELECT request_id FROM verification.request
   WHERE request_id = ANY(CAST(:ids AS text[])) AND event_sent_at IS NULL
   ORDER BY request_id FOR NO KEY UPDATE
)
UPDATE verification.request SET event_sent_at = now()
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM sent))
""")


class PostgresOutbox:
    """The `Outbox` of the ports, in PostgreSQL, for one mode."""

    def __init__(self, engine: Engine, mode: Mode) -> None:
        self._engine = engine
        self._mode = mode

    def take(self, limit: int) -> list[tuple[StoredResult, Envelope]]:
        """Take the oldest unsent results (see `ports.Outbox`)."""
        asked = {
            "unsent_for": UNSENT_SECONDS,
            "held_for": HELD_SECONDS,
            "mode": self._mode.value,
            "limit": limit,
        }
        with connection(self._engine) as database:
            rows = database.execute(TAKE_UNSENT, asked).all()
        return [(_stored(row), _envelope(row)) for row in rows]

    def hold(self, request_ids: Sequence[str]) -> None:
        """Keep what was taken (see `ports.Outbox`)."""
        asked = {"ids": list(request_ids), "held_for": HELD_SECONDS}
        with connection(self._engine) as database:
            database.execute(HOLD, asked)

    def mark_sent(self, request_ids: Sequence[str]) -> None:
        """Mark events as sent (see `ports.Outbox`)."""
        with connection(self._engine) as database:
            database.execute(MARK_SENT, {"ids": list(request_ids)})


def _stored(row: Row[Any]) -> StoredResult:
    done = standing(row)
    if not isinstance(done, AlreadyDone):
        raise TypeError("a row with an outcome is done")
    return done.stored


def _envelope(row: Row[Any]) -> Envelope:
    return Envelope(row.reply_to, row.correlation_id, row.traceparent)
