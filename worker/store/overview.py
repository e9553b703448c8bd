"""How all requests stand, in numbers, for the command `status`."""

from dataclasses import dataclass
from datetime import datetime

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
SELECT mode, CASE WHEN day = {TODAY} THEN calls_today ELSE 0 END AS calls_today, next_call_at,
       CASE WHEN bulk_day = {TODAY} THEN bulk_calls ELSE 0 END AS bulk_calls
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
class OpenRequests:
    """Requests without an outcome; a lapsed lease is nobody's work any more."""

    working: int
    waiting: int
    lapsed: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class UnsentEvents:
    """Results whose event is not known to be sent, those of the last second included."""

    events: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Calls:
    """The last hour's calls of one class; `under_way` has no end yet."""

    call_class: str
    calls: int
    charged: int
    in_doubt: int
    """Bytes left, and no answer of the provider says that it did not work on it."""
    charge_unknown: int
    """Of those that ended: in doubt, or answered so that nobody can tell (5xx)."""


@dataclass(frozen=True, slots=True)
class DayOfMode:
    """One mode's calls on the calendar day in Asia/Shanghai.

    `promised` are those that workers took from the shared limits, None where there are none;
    `bulk` those of them that are bulk's.
    """

    mode: str
    calls: int
    promised: int | None = None
    next_call_at: datetime | None = None
    bulk: int = 0


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker in the registry, with calls in the last minutes or with a lease now.

    What it says of itself is None where it has said nothing (see `core.operations.WorkerState`).
    """

    name: str
    calls: int
    seen_at: datetime | None
    """When it said so last, or its last call's end or beginning."""
    state: str | None = None
    reason: str | None = None
    probe_at: datetime | None = None
    held: int | None = None
    calls_under_way: int | None = None
    returned: int | None = None
    version: str | None = None


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

    def open_requests(self) -> OpenRequests:
        """Count the requests that have no outcome."""
        return OpenRequests(*execute(self._engine, OPEN_REQUESTS)[0])

    def unsent_events(self) -> UnsentEvents:
        """Count the results that nobody is known to have announced."""
        return UnsentEvents(*execute(self._engine, UNSENT_EVENTS)[0])

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

    def calls(self) -> list[Calls]:
        """Count the last hour's calls by class, of very many the latest."""
        return [Calls(*row) for row in execute(self._engine, CALLS, at_most=LATEST_AT_MOST)]

    def today(self) -> list[DayOfMode]:
        """Count today's calls by mode."""
        calls = {row.mode: row.calls for row in execute(self._engine, CALLS_TODAY)}
        quota = {row.mode: tuple(row)[1:] for row in execute(self._engine, QUOTA)}
        modes = sorted({*calls, *quota})
        return [DayOfMode(mode, calls.get(mode, 0), *quota.get(mode, ())) for mode in modes]

    def workers(self) -> list[WorkerSeen]:
        """Return who is at work."""
        asked = {"minutes": AT_WORK_MINUTES, "at_most": LATEST_AT_MOST}
        return [WorkerSeen(*row) for row in execute(self._engine, WORKERS, **asked)]
