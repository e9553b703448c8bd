"""The pause of all workers: one row that people write and every worker reads."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, text

from worker.core.operations import Pause
from worker.store.engine import execute
from worker.store.rows import OPEN

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
UNDER_WAY = text(f"""
SELECT count(*)
  FROM verification.request AS r JOIN verification.provider_call AS c USING (request_id)
 WHERE r.{OPEN} AND r.state = 'working' AND r.lease_until > now()
   AND c.finished_at IS NULL
""")  # noqa: S608  # made of our own constants alone


class PostgresPause:
    """The `PauseReader` in PostgreSQL, and what people order of it. Errors as of `Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> Pause | None:
        """Return the pause that stands (see `ports.PauseReader`)."""
        return _pause(execute(self._engine, READ))

    def pause(self, reason: str, by: str) -> Pause:
        """Order a pause; when this returns, it is committed."""
        return Pause(*execute(self._engine, PAUSE, reason=reason, by=by)[0])

    def resume(self) -> Pause | None:
        """Lift the pause and return it; None: there was none."""
        return _pause(execute(self._engine, RESUME))

    def calls_under_way(self) -> int:
        """Count the calls that have begun, or are about to, and whose end nobody has recorded."""
        ((count,),) = execute(self._engine, UNDER_WAY)
        return int(count)


def _pause(rows: Sequence[Any]) -> Pause | None:
    """Return the pause in the one row; without the row, or lifted, there is none."""
    return Pause(*rows[0]) if rows and rows[0].paused_at is not None else None
