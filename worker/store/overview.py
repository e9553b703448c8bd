"""How all requests stand, in numbers, for the command `status`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, TextClause, text

from worker.store.engine import execute
from worker.store.rows import KEPT, LAPSED, OPEN, TODAY, UNSENT

# Who has called, or holds a lease, in so many minutes counts as at work.
AT_WORK_MINUTES = 5

# The newest of migrations/versions; a test compares them. A worker works with this schema and with
# newer ones, for a migration runs before the workers are replaced.
HEAD = "0015"

# So many calls are looked at in a second or less.
LATEST_AT_MOST = 50_000

REVISION = text("SELECT max(version_num) FROM verification.alembic_version")
EXISTS = text("SELECT to_regclass('verification.alembic_version') IS NOT NULL")

# What `status` asks: each part one statement, by an index on what is recent.

OPEN_REQUESTS = text(f"""
SELECT count(*) FILTER (WHERE state = 'working' AND lease_until >= now()) AS working,
       count(*) FILTER (WHERE state = 'waiting') AS waiting,
       count(*) FILTER (WHERE {LAPSED}) AS lapsed,
       min(requested_at) AS oldest
  FROM verification.request WHERE {OPEN}
""")

UNSENT_EVENTS = text(f"""
SELECT count(*) AS events, min(completed_at) AS oldest
  FROM verification.request WHERE {UNSENT}
""")

# Finished rows stand in one of three partial indexes; without their conditions the whole table
# would be read.
_ANY_MODE = "mode IN ('live', 'sandbox')"
_SINCE = "SELECT outcome, completed_at FROM verification.request WHERE completed_at > :since AND "
_FINISHED = f"""
  {_SINCE} {_ANY_MODE} AND {KEPT} UNION ALL
  {_SINCE} {_ANY_MODE} AND cleared_at IS NOT NULL UNION ALL
  {_SINCE} event_sent_at IS NULL AND cleared_at IS NULL
"""

_HOUR_AGO = "now() - interval '1 hour'"
OUTCOMES = text(f"""
SELECT outcome, count(*) AS requests FROM ({_FINISHED.replace(":since", _HOUR_AGO)}) AS finished
 GROUP BY 1 ORDER BY 2 DESC, 1
""")

# The current hour, and the 23 before it.
_DAY_AGO = "date_trunc('hour', now(), 'UTC') - interval '23 hours'"
OUTCOMES_BY_HOUR = text(f"""
SELECT date_trunc('hour', completed_at, 'UTC') AS hour, outcome AS kind, count(*)::int AS count
  FROM ({_FINISHED.replace(":since", _DAY_AGO)}) AS finished GROUP BY 1, 2
""")

CALLS_BY_HOUR = text(f"""
SELECT date_trunc('hour', started_at, 'UTC') AS hour, charged AS kind, count(*)::int AS count
  FROM verification.provider_call WHERE started_at >= {_DAY_AGO} GROUP BY 1, 2
""")

THIS_HOUR = text("SELECT date_trunc('hour', now(), 'UTC')")

# The last hour's, or as many of them as are counted within a second or so.
CALLS = text("""
SELECT coalesce(class, 'under_way') AS call_class, count(*) AS calls,
       count(*) FILTER (WHERE charged = 'yes') AS charged,
       count(*) FILTER (WHERE class = 'in_doubt') AS in_doubt,
       count(*) FILTER (WHERE charged = 'unknown' AND finished_at IS NOT NULL) AS charge_unknown
  FROM (SELECT class, charged, finished_at FROM verification.provider_call
         WHERE started_at > now() - interval '1 hour'
         ORDER BY started_at DESC LIMIT :at_most) AS latest
 GROUP BY 1 ORDER BY 2 DESC, 1
""")

# The day of the calendar that the provider bills by; a row of an earlier one says nothing of today.
QUOTA = text(f"""
SELECT mode, CASE WHEN day = {TODAY} THEN calls_today ELSE 0 END AS promised, next_call_at,
       CASE WHEN bulk_day = {TODAY} THEN bulk_calls ELSE 0 END AS bulk
  FROM verification.call_quota ORDER BY mode
""")

CALLS_TODAY = text("""
SELECT mode, count(*) AS calls FROM verification.provider_call
 WHERE started_at >= date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai')
                       AT TIME ZONE 'Asia/Shanghai'
 GROUP BY 1 ORDER BY 1
""")

# Workers of the release before this one have no row of their own.
WORKERS = text(f"""
WITH calling AS (
  SELECT split_part(worker, '/', 1) AS name, count(*)::int AS calls,
         max(coalesce(finished_at, started_at)) AS seen_at
    FROM (SELECT worker, started_at, finished_at FROM verification.provider_call
           WHERE started_at > now() - make_interval(mins => :minutes)
           ORDER BY started_at DESC LIMIT :at_most) AS latest
   GROUP BY 1
), leasing AS (
  SELECT DISTINCT split_part(lease_owner, '/', 1) AS name FROM verification.request
   WHERE {OPEN} AND lease_until >= now()
), said AS (
  SELECT * FROM verification.worker WHERE seen_at > now() - make_interval(mins => :minutes)
)
SELECT name, coalesce(calls, 0) AS calls, greatest(calling.seen_at, said.seen_at) AS seen_at, state,
       reason, probe_at, held, calls_under_way, returned, version
  FROM calling FULL JOIN leasing USING (name) FULL JOIN said USING (name) ORDER BY name
""")


@dataclass(frozen=True, slots=True)
class Hours:
    """Counts of the last 24 hours by hour and kind: outcomes of requests, or charges of calls."""

    last: datetime
    """When the current hour began."""
    counts: dict[tuple[datetime, str], int]


class PostgresOverview:
    """Answers for `status` and the console. Errors as of the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def revision(self) -> str | None:
        """Return the migration that the schema is at."""
        ((revision,),) = execute(self._engine, REVISION)
        return None if revision is None else str(revision)

    def open_requests(self) -> dict[str, Any]:
        """Count the requests that have no outcome; a lapsed lease is nobody's work any more."""
        return self._rows(OPEN_REQUESTS)[0]

    def unsent_events(self) -> dict[str, Any]:
        """Count the results that nobody is known to have announced, the last second's too."""
        return self._rows(UNSENT_EVENTS)[0]

    def outcomes(self) -> dict[str, int]:
        """Count the last hour's outcomes, the most frequent first."""
        return {row.outcome: row.requests for row in execute(self._engine, OUTCOMES)}

    def outcomes_by_hour(self) -> Hours:
        """Count the last day's outcomes by the hour in which they were saved."""
        return self._by_hour(OUTCOMES_BY_HOUR)

    def calls_by_hour(self) -> Hours:
        """Count the last day's calls by the hour in which they began, by charge."""
        return self._by_hour(CALLS_BY_HOUR)

    def _by_hour(self, statement: TextClause) -> Hours:
        ((last,),) = execute(self._engine, THIS_HOUR)
        found = execute(self._engine, statement)
        return Hours(last, {(row.hour, row.kind): row.count for row in found})

    def calls(self) -> list[dict[str, Any]]:
        """Count the last hour's calls by class, of very many the latest.

        Of `charge_unknown` are those that ended, in doubt or answered so that nobody can tell.
        """
        return self._rows(CALLS, at_most=LATEST_AT_MOST)

    def today(self) -> list[dict[str, Any]]:
        """Count the calls of the calendar day in Asia/Shanghai by mode.

        `promised` are those that workers took from the shared limits, None where there are none;
        `bulk` those of them that are bulk's.
        """
        calls = {row.mode: row.calls for row in execute(self._engine, CALLS_TODAY)}
        quota = {row["mode"]: row for row in self._rows(QUOTA)}
        unlimited = {"promised": None, "next_call_at": None, "bulk": 0}
        return [
            {"mode": mode, "calls": calls.get(mode, 0), **quota.get(mode, unlimited)}
            for mode in sorted({*calls, *quota})
        ]

    def workers(self) -> list[dict[str, Any]]:
        """Return who is in the registry, has called in the last minutes or has a lease now.

        What a worker says of itself is None where it has said nothing (`operations.WorkerState`).
        """
        return self._rows(WORKERS, minutes=AT_WORK_MINUTES, at_most=LATEST_AT_MOST)

    def _rows(self, statement: TextClause, **asked: object) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in execute(self._engine, statement, **asked)]
