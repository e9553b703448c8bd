"""What workers and people tell each other by rows: the pause, the registry, what was turned away.

Errors as of `ports.Ledger`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine, text

from worker.core.operations import Blocker, Pause, WorkerState
from worker.core.request import Mode
from worker.store.engine import execute
from worker.store.rows import OPEN, TODAY, as_json

PAUSED = text("SELECT reason, paused_by, paused_at FROM verification.fleet_control")

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
""")


class PostgresPause:
    """The pause of all workers: one row that people write and every worker reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> Pause | None:
        """Return the pause that stands; None: there is none."""
        return _pause(execute(self._engine, PAUSED))

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
    """The row of one worker."""

    def __init__(self, engine: Engine, name: str, mode: Mode, version: str) -> None:
        self._engine = engine
        self._who = {"name": name, "mode": mode.value, "version": version}

    def report(self, state: WorkerState) -> None:
        """Say how this worker is now."""
        execute(self._engine, REPORT, **self._who, **asdict(state))

    def forget(self) -> None:
        """Take the row away: the worker has ended in order."""
        execute(self._engine, FORGET, name=self._who["name"])

    def blocker(self) -> Blocker | None:
        """Return who holds up this worker's statements now (see `find_blocker`)."""
        return find_blocker(self._engine, self._who["name"])


def find_blocker(engine: Engine, application: str | None = None) -> Blocker | None:
    """Return the session that most others wait for; of one application's, or of anybody's."""
    rows = execute(engine, BLOCKER, name=application)
    return Blocker(*rows[0]) if rows else None


# Sources are a publisher's words. Who sends a new one with each message fills no table: beyond so
# many rows a day they are counted together, as unknown.
ROWS_A_DAY = 1_000

TURNED_AWAY = text(f"""
WITH today AS (
  SELECT day, (SELECT count(*) FROM verification.turned_away AS t WHERE t.day = now.day) AS rows
    FROM (SELECT {TODAY} AS day) AS now
), named AS (
  SELECT day, reason, messages,
         CASE WHEN rows + row_number() OVER () <= :at_most THEN source ELSE '' END AS source
    FROM today, json_to_recordset(CAST(:batch AS json)) AS b(source text, reason text, messages int)
)
INSERT INTO verification.turned_away AS t (day, mode, source, reason, messages)
SELECT day, :mode, source, reason, sum(messages) FROM named GROUP BY 1, 2, 3, 4 ORDER BY 3, 4
    ON CONFLICT (day, mode, source, reason) DO UPDATE SET messages = t.messages + excluded.messages
""")


def count_turned_away(
    engine: Engine, mode: Mode, counts: Mapping[tuple[object, object], int]
) -> None:
    """Add to today's counts, by source (None: unknown) and reason."""
    rows: list[dict[str, object]] = [
        {"source": source or "", "reason": reason, "messages": number}
        for (source, reason), number in counts.items()
    ]
    execute(engine, TURNED_AWAY, mode=mode.value, batch=as_json(rows), at_most=ROWS_A_DAY)
