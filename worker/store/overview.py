"""What `status` asks the database for: each part one statement, by an index on what is recent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.store.engine import connection

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

# Who has called, or holds a lease, in so many minutes counts as at work.
AT_WORK_MINUTES = 5

REVISION = text("SELECT version_num FROM verification.alembic_version")

OPEN = text("""
SELECT count(*) FILTER (WHERE state = 'working' AND lease_until >= now()) AS working,
       count(*) FILTER (WHERE state = 'waiting') AS waiting,
       count(*) FILTER (WHERE state = 'working' AND lease_until < now()) AS lapsed,
       min(requested_at) AS oldest
  FROM verification.request WHERE completed_at IS NULL
""")

UNSENT = text("""
SELECT count(*) AS events, min(completed_at) AS oldest
  FROM verification.request WHERE completed_at IS NOT NULL AND event_sent_at IS NULL
""")

# Finished rows stand in one of three partial indexes; without their conditions the whole table
# would be read.
OUTCOMES = text("""
SELECT outcome, count(*) AS requests FROM (
  SELECT outcome FROM verification.request
   WHERE mode IN ('live', 'sandbox') AND completed_at > now() - interval '1 hour'
     AND event_sent_at IS NOT NULL AND cleared_at IS NULL
  UNION ALL
  SELECT outcome FROM verification.request
   WHERE mode IN ('live', 'sandbox') AND completed_at > now() - interval '1 hour'
     AND cleared_at IS NOT NULL
  UNION ALL
  SELECT outcome FROM verification.request
   WHERE completed_at > now() - interval '1 hour'
     AND event_sent_at IS NULL AND cleared_at IS NULL
) AS finished GROUP BY 1 ORDER BY 2 DESC, 1
""")

CALLS = text("""
SELECT coalesce(class, 'under_way') AS call_class, count(*) AS calls,
       count(*) FILTER (WHERE charged = 'yes') AS charged,
       count(*) FILTER (WHERE charged = 'unknown' AND finished_at IS NOT NULL) AS in_doubt
  FROM verification.provider_call WHERE started_at > now() - interval '1 hour'
 GROUP BY 1 ORDER BY 2 DESC, 1
""")

# The day of the calendar that the provider bills by; a row of an earlier one says nothing of today.
QUOTA = text("""
SELECT mode, CASE WHEN day = (now() AT TIME ZONE 'Asia/Shanghai')::date THEN calls_today ELSE 0 END
         AS calls_today, next_call_at
  FROM verification.call_quota ORDER BY mode
""")

CALLS_TODAY = text("""
SELECT mode, count(*) AS calls FROM verification.provider_call
 WHERE started_at >= date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai')
                       AT TIME ZONE 'Asia/Shanghai'
 GROUP BY 1 ORDER BY 1
""")

WORKERS = text("""
SELECT name, sum(calls)::int AS calls, max(seen_at) AS seen_at FROM (
  SELECT split_part(worker, '/', 1) AS name, count(*) AS calls,
         max(coalesce(finished_at, started_at)) AS seen_at
    FROM verification.provider_call
   WHERE started_at > now() - make_interval(mins => :minutes) GROUP BY 1
  UNION ALL
  SELECT split_part(lease_owner, '/', 1), 0, NULL FROM verification.request
   WHERE completed_at IS NULL AND lease_until >= now() GROUP BY 1
) AS seen GROUP BY 1 ORDER BY 1
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
    """Of those that ended: perhaps charged."""


@dataclass(frozen=True, slots=True)
class DayOfMode:
    """One mode's calls on the calendar day in Asia/Shanghai.

    `promised` are those that workers took from the shared limits, None where there are none.
    """

    mode: str
    calls: int
    promised: int | None = None
    next_call_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker with calls in the last minutes or with a lease now."""

    name: str
    calls: int
    seen_at: datetime | None
    """Its last call's end or beginning."""


class PostgresOverview:
    """Answers for `status`. Errors as of the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def revision(self) -> str | None:
        """Return the migration that the schema is at."""
        with connection(self._engine) as database:
            return database.execute(REVISION).scalar_one_or_none()

    def open_requests(self) -> OpenRequests:
        """Count the requests that have no outcome."""
        with connection(self._engine) as database:
            row = database.execute(OPEN).one()
        return OpenRequests(row.working, row.waiting, row.lapsed, row.oldest)

    def unsent_events(self) -> UnsentEvents:
        """Count the results that nobody is known to have announced."""
        with connection(self._engine) as database:
            row = database.execute(UNSENT).one()
        return UnsentEvents(row.events, row.oldest)

    def outcomes(self) -> dict[str, int]:
        """Count the last hour's outcomes, the most frequent first."""
        with connection(self._engine) as database:
            return {row.outcome: row.requests for row in database.execute(OUTCOMES)}

    def calls(self) -> list[Calls]:
        """Count the last hour's calls by class, the most frequent first."""
        with connection(self._engine) as database:
            rows = database.execute(CALLS).all()
        return [Calls(row.call_class, row.calls, row.charged, row.in_doubt) for row in rows]

    def today(self) -> list[DayOfMode]:
        """Count today's calls by mode."""
        with connection(self._engine) as database:
            calls = {row.mode: row.calls for row in database.execute(CALLS_TODAY)}
            quota = {row.mode: row for row in database.execute(QUOTA)}
        return [
            DayOfMode(mode, calls.get(mode, 0), quota[mode].calls_today, quota[mode].next_call_at)
            if mode in quota
            else DayOfMode(mode, calls[mode])
            for mode in sorted({*calls, *quota})
        ]

    def workers(self) -> list[WorkerSeen]:
        """Return who is at work."""
        with connection(self._engine) as database:
            rows = database.execute(WORKERS, {"minutes": AT_WORK_MINUTES}).all()
        return [WorkerSeen(row.name, row.calls, row.seen_at) for row in rows]
