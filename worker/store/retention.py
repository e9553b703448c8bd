"""Retention: finished requests lose what is about a person, and later their rows.

Each mode's workers keep house for their own rows: test data may be deleted after a day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.store.engine import connection

if TYPE_CHECKING:
    from sqlalchemy import Engine, TextClause

    from worker.core.request import Mode

# Masks, digest, the publisher's own object and texts from outside.
CLEARED = """
       cleared_at = now(), subject_digest = NULL, masked_name = NULL, masked_id_card = NULL,
       masked_bankcard = NULL, masked_mobile = NULL, masked_portrait = NULL, context = NULL,
       auth_message = NULL, auth_detail = NULL, error_fields = NULL, reply_to = NULL,
       correlation_id = NULL, traceparent = NULL"""

# An event that was not sent is made of the row: it stays whole until then.
CLEAR = text(f"""
WITH old AS (
  SELECT request_id FROM verification.request
   WHERE completed_at < now() - make_interval(secs => :older_than) AND mode = :mode
     AND event_sent_at IS NOT NULL AND cleared_at IS NULL
   ORDER BY completed_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE verification.request SET {CLEARED}
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM old))
RETURNING 1
""")  # noqa: S608  # made of our own constants alone

# Two look-ups because there are two indexes; the second takes what room the first has left. Rows
# are named by arrays: for a join the planner, who does not know that room, reads whole tables.
DELETE = text("""
WITH kept AS (
  SELECT request_id FROM verification.request
   WHERE completed_at < now() - make_interval(secs => :older_than) AND mode = :mode
     AND event_sent_at IS NOT NULL AND cleared_at IS NULL
   ORDER BY completed_at LIMIT :limit FOR UPDATE SKIP LOCKED
), cleared AS (
  SELECT request_id FROM verification.request
   WHERE completed_at < now() - make_interval(secs => :older_than) AND mode = :mode
     AND cleared_at IS NOT NULL
   ORDER BY completed_at LIMIT :limit - (SELECT count(*) FROM kept) FOR UPDATE SKIP LOCKED
), old AS (
  SELECT request_id FROM kept UNION ALL SELECT request_id FROM cleared
), calls AS (
  DELETE FROM verification.provider_call WHERE request_id = ANY(ARRAY(SELECT request_id FROM old))
)
DELETE FROM verification.request WHERE request_id = ANY(ARRAY(SELECT request_id FROM old))
RETURNING 1
""")


class PostgresRetention:
    """Old finished requests of one mode; `older_than` is in seconds since the outcome.

    A result whose event was not sent is left whole. Errors as of `ports.Ledger`.
    """

    def __init__(self, engine: Engine, mode: Mode) -> None:
        self._engine = engine
        self._mode = mode

    def clear_personal(self, older_than: float, limit: int) -> int:
        """Clear masks, digests and contexts, and return of how many requests.

        The row stays: its requestId is not paid again.
        """
        return self._do(CLEAR, older_than, limit)

    def delete(self, older_than: float, limit: int) -> int:
        """Delete requests with their calls and return how many; each requestId is then new."""
        return self._do(DELETE, older_than, limit)

    def _do(self, statement: TextClause, older_than: float, limit: int) -> int:
        asked = {"older_than": older_than, "mode": self._mode.value, "limit": limit}
        with connection(self._engine) as database:
            return len(database.execute(statement, asked).all())
