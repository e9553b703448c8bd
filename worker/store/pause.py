"""The fleet's control: one row that people write and every worker reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from worker.core.pause import Pause
from worker.store.engine import connection

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row

READ = text("SELECT reason, paused_by, paused_at FROM verification.fleet_control")

# A second pause changes the words and not the beginning.
PAUSE = text("""
INSERT INTO verification.fleet_control AS f (paused_at, paused_by, reason)
VALUES (now(), :by, :reason)
ON CONFLICT (single) DO UPDATE
   SET paused_at = coalesce(f.paused_at, now()), paused_by = :by, reason = :reason
RETURNING reason, paused_by, paused_at
""")

RESUME = text("""
WITH before AS (
  SELECT single, reason, paused_by, paused_at FROM verification.fleet_control FOR UPDATE
)
UPDATE verification.fleet_control AS f SET paused_at = NULL, paused_by = NULL, reason = NULL
  FROM before
 WHERE f.single = before.single
RETURNING before.reason, before.paused_by, before.paused_at
""")

# A worker that crashed counts until its lease is over: nobody knows that its call is.
UNDER_WAY = text("""
SELECT count(*)
  FROM verification.request AS r JOIN verification.provider_call AS c USING (request_id)
 WHERE r.completed_at IS NULL AND r.state = 'working' AND r.lease_until > now()
   AND c.finished_at IS NULL
""")


class PostgresPause:
    """What people order all workers. Errors as of `ports.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> Pause | None:
        """Return the pause that stands now, or None."""
        with connection(self._engine) as database:
            return _pause(database.execute(READ).one_or_none())

    def pause(self, reason: str, by: str) -> Pause:
        """Order a pause; when this returns, it is committed."""
        with connection(self._engine) as database:
            row = database.execute(PAUSE, {"reason": reason, "by": by}).one()
        return Pause(row.reason, row.paused_by, row.paused_at)

    def resume(self) -> Pause | None:
        """Lift the pause and return it; None: there was none."""
        with connection(self._engine) as database:
            return _pause(database.execute(RESUME).one_or_none())

    def calls_under_way(self) -> int:
        """Count the calls that have begun, or are about to, and whose end nobody has recorded."""
        with connection(self._engine) as database:
            return int(database.execute(UNDER_WAY).scalar_one())


def _pause(row: Row[Any] | None) -> Pause | None:
    if row is None or row.paused_at is None:
        return None
    return Pause(row.reason, row.paused_by, row.paused_at)
