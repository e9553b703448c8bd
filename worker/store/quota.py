"""The calls that all workers may make together: so many in any minute, so many a day. Pure.

Live goes before bulk by how far ahead each may take a place: live a second, bulk a moment while
live calls come. And a live call may begin earlier than its place, by that moment and one place: so
it does not wait for the bulk calls before it. Where live takes every place, bulk finds none. Then
it is owed some: each live call adds BULK_SHARE to its credit, a call of its own takes
100 - BULK_SHARE from it, and for a credit it takes the next place, ahead of live. Whichever worker
holds which lane, all this is in the row.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from worker.core.claims import Postponed, Shortage
from worker.core.request import Lane
from worker.core.timing import SHANGHAI, shanghai_date

# Slots are given out so far ahead: far enough that callers always know their next call while the
# next claim is committed, near enough that a worker which dies takes few with it.
HORIZON = timedelta(seconds=1)
# So far ahead bulk takes places while live calls come: a claim's commit takes some 10 ms.
BULK_HORIZON = timedelta(milliseconds=50)
# To begin earlier costs one place of each minute's: with fewer a live call keeps to its own.
_LIVE_AHEAD_FROM = 100
# Live calls come when the last one was promised within this time.
_LIVE_COMES = timedelta(minutes=10)
# Between two looks of bulk for what it is owed, while live takes all: ten times a second, however
# many places a second has. Credit is kept for so long that no look finds less than its share.
_BULK_LOOK = 0.1
_MINUTE = 60.0
# Batches whose answer was lost are given places again, whatever is free: two batches of 64.
_MOST_AHEAD = 128
_A_DAY = timedelta(days=1)
# Where something is free already and only others were in the way: after one commit or two.
_AT_ONCE = 0.01


@dataclass(frozen=True, slots=True)
class Quota:
    """What all workers of a mode together may call; None is no limit."""

    calls_per_minute: int | None = None
    """In any 60 s."""
    daily_call_budget: int | None = None
    """In a day of Asia/Shanghai."""
    start_margin: float = 4.0
    """Seconds by which a call may reach the provider later than its slot."""
    bulk_share: int = 10
    """What bulk gets at least of the calls per minute, in per cent."""
    bulk_daily_call_budget: int | None = None
    """The part of the day's calls that bulk may use; None: all that live leaves."""

    @property
    def spacing(self) -> timedelta:
        """The time from one slot to the next.

        A call arrives between `live_ahead` before its slot and `start_margin` after it, so what
        arrives within a minute has its slots within a minute and both: at this distance
        `calls_per_minute` of them at most.
        """
        if self.calls_per_minute is None:
            return timedelta(0)
        seconds, places = _MINUTE + self.start_margin, self.calls_per_minute
        if self._live_is_ahead:
            seconds, places = seconds + BULK_HORIZON.total_seconds(), places - 1
        # Rounded up, for so many microseconds too short add up to a call too many.
        return timedelta(microseconds=math.ceil(seconds / places * 1_000_000))

    @property
    def live_ahead(self) -> timedelta:
        """How long before its slot a live call may begin: bulk's moment, and one place."""
        return BULK_HORIZON + self.spacing if self._live_is_ahead else timedelta(0)

    @property
    def _live_is_ahead(self) -> bool:
        return self.calls_per_minute is not None and self.calls_per_minute >= _LIVE_AHEAD_FROM


@dataclass(frozen=True, slots=True)
class QuotaState:
    """Where a mode's quota stands while its row is locked."""

    quota: Quota
    now: datetime
    next_call_at: datetime
    day: date
    calls_today: int
    live_at: datetime | None = None
    """When a call was promised to live last; None: not yet, or to workers without lanes."""
    bulk_credit: int = 0
    bulk_calls: int = 0
    """Those of `calls_today` that are bulk's."""
    clock_set_back: bool = False
    """The next place was further ahead than any claim puts it: that was capped."""

    def renewed(self) -> QuotaState:
        """Return the state as it stands now: a slot that has passed is lost, a new day is empty.

        A clock that goes back over midnight does not open a day again; a day further ahead is of a
        wrong clock, and what was spent in it counts until the next midnight. One that is set back
        stops nobody for longer than a minute: then the last minute's calls are over.
        """
        state, now, spacing = self, self.now, self.quota.spacing
        if (today := shanghai_date(now)) > self.day:
            state = replace(self, day=today, calls_today=0, bulk_calls=0)
        elif today < self.day - _A_DAY:
            state = replace(self, day=today)
        next_call_at, minute = self.next_call_at, timedelta(seconds=_MINUTE)
        set_back = next_call_at > now + max(minute, _MOST_AHEAD * spacing)
        if set_back:
            next_call_at = now + max(minute, spacing + HORIZON)
        return replace(state, next_call_at=max(next_call_at, now), clock_set_back=set_back)

    @property
    def free(self) -> int:
        """How many calls live may be promised now."""
        return min(self._places(HORIZON), self._left_today)

    def shares(self, live: int, bulk: int) -> tuple[int, int]:
        """Return how many of so many that want a call may be promised one now."""
        live = min(live, self.free)
        after = self.spend(live)
        places = max(after._places(after._bulk_horizon), after._owed_places)
        return live, min(bulk, places, after._left_today, after._left_of_bulk)

    def _places(self, ahead: timedelta) -> int:
        """Return how many places there are so far ahead."""
        if self.quota.calls_per_minute is None:
            return sys.maxsize
        return max(0, (self.now + ahead - self.next_call_at) // self.quota.spacing + 1)

    @property
    def _left_today(self) -> int:
        budget = self.quota.daily_call_budget
        return sys.maxsize if budget is None else max(0, budget - self.calls_today)

    @property
    def _left_of_bulk(self) -> int:
        budget = self.quota.bulk_daily_call_budget
        return sys.maxsize if budget is None else max(0, budget - self.bulk_calls)

    @property
    def _bulk_horizon(self) -> timedelta:
        live_comes = self.live_at is not None and self.now - self.live_at < _LIVE_COMES
        return min(BULK_HORIZON, HORIZON) if live_comes else HORIZON

    @property
    def _bulk_cost(self) -> int:
        return 100 - self.quota.bulk_share

    @property
    def _owed_horizon(self) -> timedelta:
        """How far ahead bulk takes the places that it is owed: further than live takes any."""
        owed = max(1, self.bulk_credit // self._bulk_cost)
        return HORIZON + min(owed * self.quota.spacing, HORIZON)

    @property
    def _owed_places(self) -> int:
        return min(self.bulk_credit // self._bulk_cost, self._places(self._owed_horizon))

    def waits(self, calls: Iterable[Lane]) -> list[float]:
        """Return in how many seconds each of the next calls, of these lanes, may start."""
        none = timedelta(0)
        ahead = {Lane.LIVE: self.quota.live_ahead, Lane.BULK: none}
        # Without a limit there are no slots.
        first = self.next_call_at - self.now if self.quota.calls_per_minute else none
        slots = ((lane, first + number * self.quota.spacing) for number, lane in enumerate(calls))
        return [max(none, slot - ahead[lane]).total_seconds() for lane, slot in slots]

    def spend(self, live: int, bulk: int = 0, *, repeated: tuple[int, int] = (0, 0)) -> QuotaState:
        """Return the state after so many calls; those repeated were paid from the budget before."""
        credit = self.bulk_credit + live * self.quota.bulk_share - bulk * self._bulk_cost
        calls = live + bulk
        return replace(
            self,
            next_call_at=self.next_call_at + calls * self.quota.spacing,
            calls_today=self.calls_today + calls - sum(repeated),
            live_at=self.now if live else self.live_at,
            bulk_credit=max(0, min(credit, self._most_credit)),
            bulk_calls=self.bulk_calls + bulk - repeated[1],
        )

    @property
    def _most_credit(self) -> int:
        """What the live calls of a second give, and two calls: who is owed more did not ask."""
        spacing = self.quota.spacing
        live_calls = HORIZON // spacing + 1 if spacing else 0
        return live_calls * self.quota.bulk_share + 2 * self._bulk_cost

    def postponed(self, lane: Lane = Lane.LIVE) -> Postponed:
        """Return when those that got nothing may ask again, once the others have their calls."""
        midnight = datetime.combine(self.day + _A_DAY, time(), SHANGHAI)
        if not self._left_today:
            return Postponed(self._until(midnight), Shortage.DAILY_BUDGET)
        if lane is Lane.BULK and not self._left_of_bulk:
            return Postponed(self._until(midnight), Shortage.BULK_BUDGET)
        if self.quota.calls_per_minute is None:
            budget = Shortage.DAILY_BUDGET if lane is Lane.LIVE else Shortage.BULK_BUDGET
            return Postponed(_AT_ONCE, budget)
        if lane is Lane.LIVE:
            wait = self._until(self.next_call_at - HORIZON)
        else:
            wait = self._until(self.next_call_at - self._bulk_horizon)
            wait = min(wait, max(_BULK_LOOK, self._until_owed))
        apart = self.quota.spacing.total_seconds()
        return Postponed(min(wait, _MINUTE), Shortage.CALLS_PER_MINUTE, apart)

    @property
    def _until_owed(self) -> float:
        """Seconds until bulk is owed a place, if live takes all from now on, and may take it."""
        missing = self._bulk_cost - self.bulk_credit
        if missing <= 0:
            return self._until(self.next_call_at - self._owed_horizon)
        live_calls = math.ceil(missing / self.quota.bulk_share)
        return live_calls * self.quota.spacing.total_seconds()

    def _until(self, then: datetime) -> float:
        return max(_AT_ONCE, (then - self.now).total_seconds())
