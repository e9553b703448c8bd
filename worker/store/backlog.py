"""What is unfinished, and the database's server, in numbers: for the workers' metrics."""

from math import inf

from sqlalchemy import Engine, text

from worker.core.operations import Backlog, DatabaseServer
from worker.core.request import Mode
from worker.core.timing import DAY
from worker.store.engine import connection, execute
from worker.store.overview import EXISTS, HEAD, REVISION
from worker.store.rows import KEPT, LAPSED, OPEN, TODAY, UNSENT

# 10,000 entries of an index are read in some 3 ms. Who has more unsent events or lapsed requests
# knows enough.
COUNTED_AT_MOST = 10_000

# Each part reads an index that holds only what is unfinished, and stops at a bound: every worker
# asks this every few seconds. The oldest come first: they are the ones that have lapsed, and that
# say how long an event waits.
BACKLOG = text(f"""
SELECT unsent, oldest_unsent, lapsed, calls_today, bulk_calls_today,
       greatest(0, whole - least(:clear_after, :delete_after), cleared - :delete_after) AS overdue
  FROM (SELECT count(*) AS unsent,
               coalesce(extract(epoch FROM now() - min(completed_at)), 0)::float8 AS oldest_unsent
          FROM (SELECT completed_at FROM verification.request
                 WHERE {UNSENT} AND mode = :mode
                 ORDER BY completed_at LIMIT :at_most) AS each) AS outbox,
       (SELECT count(*) FILTER (WHERE {LAPSED}) AS lapsed
          FROM (SELECT state, lease_until FROM verification.request
                 WHERE {OPEN} AND mode = :mode
                 ORDER BY requested_at LIMIT :at_most) AS each) AS open,
       (SELECT coalesce(max(calls_today), 0) AS calls_today,
               coalesce(max(bulk_calls) FILTER (WHERE bulk_day = day), 0) AS bulk_calls_today
          FROM verification.call_quota
         WHERE mode = :mode AND day = {TODAY}) AS quota,
       (SELECT coalesce(extract(epoch FROM now() - min(completed_at)), 0)::float8 AS whole
          FROM verification.request WHERE mode = :mode AND {KEPT}) AS kept,
       (SELECT coalesce(extract(epoch FROM now() - min(completed_at)), 0)::float8 AS cleared
          FROM verification.request WHERE mode = :mode AND cleared_at IS NOT NULL) AS erased
""")

# Every user may count connections; who they are is another matter. `reserved_connections` is there
# from PostgreSQL 16 on.
SERVER = text("""
SELECT clock_timestamp(), (SELECT sum(numbackends)::int FROM pg_stat_database),
       current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0)
""")


class PostgresBacklog:
    """The backlog in PostgreSQL, for one mode, and its server; 0 days are never."""

    def __init__(
        self, engine: Engine, mode: Mode, *, clear_after_days: int = 0, delete_after_days: int = 0
    ) -> None:
        self._engine = engine
        self._asked = {
            "mode": mode.value,
            "clear_after": clear_after_days * DAY or inf,
            "delete_after": delete_after_days * DAY or inf,
        }

    def read(self) -> Backlog:
        """Count what is unfinished."""
        with connection(self._engine) as database:
            revision = database.scalar(REVISION) if database.scalar(EXISTS) else None
            if revision is None or revision < HEAD:
                return Backlog(schema_behind=True)
            asked = {**self._asked, "at_most": COUNTED_AT_MOST}
            return Backlog(*database.execute(BACKLOG, asked).one())

    def server(self) -> DatabaseServer:
        """Return the server's clock and its connections."""
        return DatabaseServer(*execute(self._engine, SERVER)[0])
