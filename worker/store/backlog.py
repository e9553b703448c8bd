"""How the books stand: a look every few seconds, by every worker, so it must cost next to nothing.

Each part reads an index that holds only what is unfinished, and stops at a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.core.backlog import Backlog
from worker.store.engine import connection

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.core.request import Mode

# The newest of migrations/versions; a test compares them. A worker works with this schema and with
# newer ones, for a migration runs before the workers are replaced.
HEAD = "0007"

# 10,000 entries of an index are read in some 3 ms. Who has more unsent events or lapsed requests
# knows enough.
COUNTED_AT_MOST = 10_000

REVISION = text("SELECT max(version_num) FROM verification.alembic_version")
EXISTS = text("SELECT to_regclass('verification.alembic_version') IS NOT NULL")

# The oldest come first: they are the ones that have lapsed, and that say how long an event waits.
READ = text("""
SELECT unsent, oldest_unsent, lapsed, calls_today
  FROM (SELECT count(*) AS unsent,
               coalesce(extract(epoch FROM now() - min(completed_at)), 0)::float8 AS oldest_unsent
          FROM (SELECT completed_at FROM verification.request
                 WHERE completed_at IS NOT NULL AND event_sent_at IS NULL AND mode = :mode
                 ORDER BY completed_at LIMIT :at_most) AS each) AS outbox,
       (SELECT count(*) FILTER (WHERE state = 'working' AND lease_until < now()) AS lapsed
          FROM (SELECT state, lease_until FROM verification.request
                 WHERE completed_at IS NULL AND mode = :mode
                 ORDER BY requested_at LIMIT :at_most) AS each) AS open,
       (SELECT coalesce(max(calls_today), 0) AS calls_today FROM verification.call_quota
         WHERE mode = :mode AND day = (now() AT TIME ZONE 'Asia/Shanghai')::date) AS quota
""")


class PostgresBacklog:
    """How the books of one mode stand, for people to watch. Errors as of `ports.Ledger`."""

    def __init__(self, engine: Engine, mode: Mode) -> None:
        self._engine = engine
        self._mode = mode

    def read(self) -> Backlog:
        """Read it, at a cost that does not grow with the tables."""
        with connection(self._engine) as database:
            revision = database.scalar(REVISION) if database.scalar(EXISTS) else None
            if revision is None or revision < HEAD:
                return Backlog(schema_behind=True)
            asked = {"mode": self._mode.value, "at_most": COUNTED_AT_MOST}
            return Backlog(*database.execute(READ, asked).one())
