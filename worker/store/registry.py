"""The registry of workers: a row for each, which it refreshes, and who holds up whom."""

from dataclasses import asdict

from sqlalchemy import Engine, text

from worker.core.operations import Blocker, WorkerState
from worker.core.request import Mode
from worker.store.engine import execute

# Who was killed could not take its row away.
REPORT = text("""
WITH forgotten AS (
  DELETE FROM verification.worker WHERE seen_at < now() - interval '1 day' AND name <> :name
)
INSERT INTO verification.worker AS w (name, mode, version, state, reason, probe_at, held, claimed,
  calls_under_way, calls_allowed, returned)
VALUES (:name, :mode, :version, :state, :reason, now() + make_interval(secs => :probe_in), :held,
  :claimed, :calls_under_way, :calls_allowed, :returned)
ON CONFLICT (name) DO UPDATE
   SET seen_at = now(), state = excluded.state, reason = excluded.reason,
       probe_at = excluded.probe_at, held = excluded.held, claimed = excluded.claimed,
       calls_under_way = excluded.calls_under_way, calls_allowed = excluded.calls_allowed,
       returned = excluded.returned
""")

FORGET = text("DELETE FROM verification.worker WHERE name = :name")

# It reads the server's own memory, and no table of ours, so no lock on those stops it. Another
# user's transaction has no time for who may not see it.
BLOCKER = text("""
SELECT pid, nullif(application_name, '') AS application, xact_start AS since
  FROM pg_stat_activity JOIN (
    SELECT unnest(pg_blocking_pids(pid)) AS pid FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
       AND (CAST(:name AS text) IS NULL OR application_name = :name)
     UNION ALL
    SELECT pid FROM pg_locks JOIN pg_class ON pg_class.oid = relation
     WHERE granted AND mode = 'AccessExclusiveLock' AND CAST(:name AS text) IS NULL
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND relnamespace = to_regnamespace('verification')
  ) AS holder USING (pid)
 WHERE cardinality(pg_blocking_pids(pid)) = 0
 GROUP BY pid, application_name, xact_start
 ORDER BY count(*) DESC, xact_start
 LIMIT 1
""")


class PostgresRegistry:
    """The row of one worker. Errors as of the ledger."""

    def __init__(self, engine: Engine, name: str, mode: Mode, version: str) -> None:
        self._engine = engine
        self._name = name
        self._mode = mode
        self._version = version

    def report(self, state: WorkerState) -> None:
        """Say how this worker is now."""
        who = {"name": self._name, "mode": self._mode.value, "version": self._version}
        execute(self._engine, REPORT, **who, **asdict(state))

    def forget(self) -> None:
        """Take the row away: the worker has ended in order."""
        execute(self._engine, FORGET, name=self._name)

    def blocker(self) -> Blocker | None:
        """Return who holds up this worker's statements now (see `find_blocker`)."""
        return find_blocker(self._engine, self._name)


def find_blocker(engine: Engine, application: str | None = None) -> Blocker | None:
    """Return the session that most others wait for; of one application's, or of anybody's."""
    rows = execute(engine, BLOCKER, name=application)
    return Blocker(*rows[0]) if rows else None
