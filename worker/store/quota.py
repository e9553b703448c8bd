"""The calls that all workers may make together: so many in any minute, so many a day.

Each mode has one row. A claim locks it before any other row and keeps it until its commit, so
that the limits hold over all replicas, to the call, with nothing but the database.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.core.claims import Postponed, Shortage
from worker.core.timing import SHANGHAI, shanghai_date

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy import Connection

    from worker.core.claims import Entry
    from worker.core.request import Mode

# Slots are given out so far ahead: far enough that callers always know their next call while the
# next claim is committed, near enough that a worker which dies takes few with it.
HORIZON = timedelta(seconds=1)
_MINUTE = 60.0
# Batches whose answer was lost are given places again, whatever is free: two batches of 64.
_MOST_AHEAD = 128
_A_DAY = timedelta(days=1)
# Where something is free already and only others were in the way: after one commit or two.
_AT_ONCE = 0.01

# `clock_timestamp()` outside the CTE: below the lock it would be read before the wait for it. And
# a worker that freezes here would hold up all others: the server ends its transaction.
LOCK_QUOTA = text("""
WITH locked AS MATERIALIZED (
  SELECT next_call_at, day, calls_today FROM verification.call_quota
   WHERE mode = :mode FOR NO KEY UPDATE
)
SELECT next_call_at, day, calls_today, clock_timestamp() AS now,
       set_config('idle_in_transaction_session_timeout', '3s', true)
  FROM locked
""")

OPEN_QUOTA = text("""
INSERT INTO verification.call_quota (mode, next_call_at, day)
VALUES (:mode, now(), (now() AT TIME ZONE 'Asia/Shanghai')::date)
ON CONFLICT (mode) DO NOTHING
""")

# Which calls of these claims count on the quota's day. Asked when its row is locked: whoever has
# returned one of their tokens has committed it.
TOKENS_HELD = text("""
SELECT count(*)
  FROM unnest(CAST(:ids AS text[]), CAST(:owners AS text[])) AS e(request_id, owner)
  JOIN verification.provider_call AS c ON c.request_id = e.request_id AND c.worker = e.owner
 WHERE c.class IS DISTINCT FROM 'not_sent'
   AND (c.started_at AT TIME ZONE 'Asia/Shanghai')::date =
       (SELECT day FROM verification.call_quota WHERE mode = :mode)
""")

RETURN_TOKENS = text("""
UPDATE verification.call_quota SET calls_today = greatest(0, calls_today - :tokens)
 WHERE mode = :mode
""")

SAVE_QUOTA = text("""
UPDATE verification.call_quota
   SET next_call_at = :next_call_at, day = :day, calls_today = :calls_today
 WHERE mode = :mode
""")


@dataclass(frozen=True, slots=True)
class Quota:
    """What all workers together may call; None is no limit."""

    calls_per_minute: int | None
    daily_call_budget: int | None
    start_margin: float
    """Seconds by which a call may reach the provider later than its slot."""

    @property
    def spacing(self) -> timedelta:
        """The time from one slot to the next.

        A call arrives between its slot and `start_margin` after it, so what arrives within a
        minute has its slots within a minute and the margin: at this distance `calls_per_minute`
        of them at most. Rounded up, for so many microseconds too short add up to a call too many.
        """
        if self.calls_per_minute is None:
            return timedelta(0)
        seconds = (_MINUTE + self.start_margin) / self.calls_per_minute
        return timedelta(microseconds=math.ceil(seconds * 1_000_000))


@dataclass(frozen=True, slots=True)
class QuotaState:
    """Where a mode's quota stands while its row is locked."""

    quota: Quota
    now: datetime
    next_call_at: datetime
    day: date
    calls_today: int
    clock_set_back: bool = False
    """The next place was further ahead than any claim puts it: that was capped."""

    @classmethod
    def read(
        cls, quota: Quota, now: datetime, next_call_at: datetime, day: date, calls_today: int
    ) -> QuotaState:
        """Return the state as it stands now: a slot that has passed is lost, a new day is empty.

        A clock that goes back over midnight does not open a day again, and one that is set back
        stops nobody for longer than a minute: then the last minute's calls are over.
        """
        today = shanghai_date(now)
        if today > day:
            day, calls_today = today, 0
        minute = timedelta(seconds=_MINUTE)
        set_back = next_call_at > now + max(minute, _MOST_AHEAD * quota.spacing)
        if set_back:
            next_call_at = now + max(minute, quota.spacing + HORIZON)
        return cls(quota, now, max(next_call_at, now), day, calls_today, set_back)

    @property
    def free(self) -> int:
        """How many calls may be promised now."""
        limits = []
        if self.quota.calls_per_minute is not None:
            ahead = self.now + HORIZON - self.next_call_at
            limits.append(max(0, ahead // self.quota.spacing + 1))
        if self.quota.daily_call_budget is not None:
            limits.append(max(0, self.quota.daily_call_budget - self.calls_today))
        return min(limits)

    def waits(self, calls: int) -> list[float]:
        """Return in how many seconds each of the next calls may start."""
        if self.quota.calls_per_minute is None:
            return [0.0] * calls
        first = self.next_call_at - self.now
        return [(first + number * self.quota.spacing).total_seconds() for number in range(calls)]

    def spend(self, calls: int, *, repeated: int = 0) -> QuotaState:
        """Return the state after so many calls; those repeated were paid from the budget before."""
        return replace(
            self,
            next_call_at=self.next_call_at + calls * self.quota.spacing,
            calls_today=self.calls_today + calls - repeated,
        )

    def postponed(self) -> Postponed:
        """Return when those that got nothing may ask again, once the others have their calls."""
        budget = self.quota.daily_call_budget
        if budget is not None and self.calls_today >= budget:
            midnight = datetime.combine(self.day + _A_DAY, time(), SHANGHAI)
            return Postponed(self._until(midnight), Shortage.DAILY_BUDGET)
        if self.quota.calls_per_minute is not None:
            wait = min(self._until(self.next_call_at - HORIZON), _MINUTE)
            return Postponed(wait, Shortage.CALLS_PER_MINUTE)
        return Postponed(_AT_ONCE, Shortage.DAILY_BUDGET)

    def _until(self, then: datetime) -> float:
        return max(_AT_ONCE, (then - self.now).total_seconds())


def lock_quota(database: Connection, quota: Quota, mode: Mode) -> QuotaState:
    """Lock a mode's row until the transaction ends and return where it stands."""
    row = database.execute(LOCK_QUOTA, {"mode": mode.value}).one_or_none()
    if row is None:
        database.execute(OPEN_QUOTA, {"mode": mode.value})
        row = database.execute(LOCK_QUOTA, {"mode": mode.value}).one()
    return QuotaState.read(quota, row.now, row.next_call_at, row.day, row.calls_today)


def tokens_held(database: Connection, entries: Sequence[Entry], mode: Mode) -> int:
    """Return how many calls of these entries count on the quota's day; its row is locked."""
    asked = {
        "ids": [each.granted.request_id for each in entries],
        "owners": [each.granted.owner for each in entries],
    }
    return int(database.execute(TOKENS_HELD, {**asked, "mode": mode.value}).scalar_one())


def return_tokens(database: Connection, tokens: int, mode: Mode) -> None:
    """Let calls that were not sent after all count no more; the row is locked."""
    if tokens > 0:
        database.execute(RETURN_TOKENS, {"tokens": tokens, "mode": mode.value})


def save_quota(database: Connection, state: QuotaState, mode: Mode) -> None:
    """Write a locked row back."""
    today = {"day": state.day, "calls_today": state.calls_today}
    values = {"mode": mode.value, "next_call_at": state.next_call_at, **today}
    database.execute(SAVE_QUOTA, values)
