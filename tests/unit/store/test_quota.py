"""The arithmetic of the quota: in no minute a call too many, on no day either."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as some

from worker.core.claims import Postponed, Shortage
from worker.core.request import Lane
from worker.store.quota import BULK_HORIZON, HORIZON, Quota, QuotaState

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)  # in Shanghai
TODAY = date(2026, 3, 1)
A_MINUTE = timedelta(seconds=60)


def quota_state(
    *,
    per_minute: int | None = None,
    budget: int | None = None,
    margin: float = 4.0,
    calls_today: int = 0,
    now: datetime = NOON,
) -> QuotaState:
    """Return a quota whose next slot is now."""
    return QuotaState(Quota(per_minute, budget, margin), now, now, TODAY, calls_today).renewed()


def later(state: QuotaState, seconds: float) -> QuotaState:
    now = state.now + timedelta(seconds=seconds)
    return replace(state, now=now).renewed()


# A step is how long until the next claim, how many calls it wants, how many of an earlier batch
# it repeats, and of each its lane and how late it is, as a share of the margin.
_STEPS = some.lists(
    some.tuples(
        some.one_of(some.floats(0, 2), some.floats(0, 70)),
        some.integers(0, 200),
        some.integers(0, 3),
        some.lists(
            some.tuples(some.sampled_from(Lane), some.sampled_from([0.0, 0.5, 1.0])),
            min_size=1,
            max_size=7,
        ),
    ),
    max_size=150,
)


@given(
    per_minute=some.one_of(some.integers(1, 20), some.sampled_from([99, 100, 600, 601, 7_000])),
    margin=some.sampled_from([0.0, 0.25, 4.0, 30.0]),
    steps=_STEPS,
)
def test_no_minute_at_the_provider_has_a_call_too_many_however_late_each_is(
    per_minute: int, margin: float, steps: list[tuple[float, int, int, list[tuple[Lane, float]]]]
) -> None:
    state = quota_state(per_minute=per_minute, margin=margin)
    arrivals = []
    for seconds, wanted, repeated, kinds in steps:
        state = later(state, seconds)
        if state.next_call_at - state.now > 100 * state.quota.spacing:
            repeated = 0  # so many lost answers in a row would be something else
        calls = min(wanted, state.free) + repeated
        lanes, lateness = zip(*islice(cycle(kinds), calls), strict=True) if calls else ((), ())
        for wait, late in zip(state.waits(lanes), lateness, strict=True):
            arrivals.append(state.now + timedelta(seconds=wait) + timedelta(seconds=margin * late))
        state = state.spend(calls, repeated=(repeated, 0))
    arrivals.sort()
    for first, one_too_many in zip(arrivals, arrivals[per_minute:], strict=False):
        assert one_too_many - first >= A_MINUTE


@pytest.mark.parametrize("per_minute", [99, 100, 600])
def test_after_a_late_bulk_call_the_earliest_live_ones_are_no_call_too_many(
    per_minute: int,
) -> None:
    """The worst that lanes and lateness can do together."""
    state = quota_state(per_minute=per_minute)
    late = state.now + timedelta(seconds=state.quota.start_margin)
    state, live = state.spend(0, 1), list[datetime]()
    while len(live) < per_minute:
        state = later(state, 0 if state.free else state.postponed().seconds)
        live += [state.now + timedelta(seconds=each) for each in state.waits([Lane.LIVE])]
        state = state.spend(1)
    assert live[-1] - late >= A_MINUTE


@pytest.mark.parametrize("margin", [0.0, 0.1, 4.0])
def test_the_slots_of_one_limit_are_never_closer_than_a_minute_and_the_margin(
    margin: float,
) -> None:
    """To the microsecond, in which the database counts."""
    for per_minute in range(1, 5_000):
        quota = Quota(per_minute, None, margin)
        around = quota.live_ahead + timedelta(seconds=margin)
        assert per_minute * quota.spacing >= A_MINUTE + around


def test_ten_minutes_of_greedy_workers_fill_almost_every_minute() -> None:
    """The margin costs 4 s of each 64: a limit of 600 is used to 93 %."""
    state, calls = quota_state(per_minute=600), 0
    while state.now < NOON + 10 * A_MINUTE:
        calls += state.free
        state = state.spend(state.free)
        postponed = state.postponed()
        assert postponed.shortage is Shortage.CALLS_PER_MINUTE
        state = later(state, postponed.seconds)
    assert 5_600 < calls < 5_640


@pytest.mark.parametrize(
    ("per_minute", "free"),
    [
        (1, 1),  # a slot now, the next in 64 s
        (60, 1),  # in 1.07 s: beyond the horizon
        (64, 2),  # in 1 s sharp: still in it
        (600, 10),
        (64_051, 1001),  # in 1 ms sharp
    ],
)
def test_slots_are_free_within_the_horizon(per_minute: int, free: int) -> None:
    assert quota_state(per_minute=per_minute).free == free
    waits = quota_state(per_minute=per_minute).waits([Lane.BULK] * free)
    assert timedelta(seconds=waits[-1]) <= HORIZON


SPENT = quota_state(per_minute=600).spend(10)
ENDED = quota_state(budget=5, calls_today=5)


@pytest.mark.parametrize(
    ("state", "free"),
    [
        # the next slot is beyond the horizon, and then within it
        (SPENT, 0),
        (later(SPENT, 0.06), 0),
        (later(SPENT, 0.07), 1),
        # a new day is empty
        (ENDED, 0),
        (later(ENDED, 86_400), 5),
        # a clock that goes back over midnight does not open the day again
        (later(replace(ENDED, day=date(2026, 3, 2)), 0), 0),
        # and one that was far ahead, and is set right, keeps it closed till midnight
        (later(replace(ENDED, day=date(2026, 3, 3)), 0), 0),
        (later(later(replace(ENDED, day=date(2026, 3, 9)), 0), 86_400), 5),
        # the budget was lowered below what is spent
        (quota_state(budget=3, calls_today=5), 0),
        # the smaller limit counts
        (quota_state(per_minute=600, budget=3), 3),
        (quota_state(per_minute=600, budget=100), 10),
    ],
)
def test_both_limits_leave_so_many_calls(state: QuotaState, free: int) -> None:
    assert state.free == free


def test_who_waits_as_long_as_told_finds_a_slot() -> None:
    for per_minute in (1, 7, 60, 599, 600, 10_000):
        spent = quota_state(per_minute=per_minute)
        waiting = spent.spend(spent.free)
        for _ in range(2):  # nobody is told to wait for longer than a minute
            if waiting.free == 0:
                waiting = later(waiting, waiting.postponed().seconds)
        assert waiting.free >= 1


@pytest.mark.parametrize(
    ("now", "today", "seconds"),
    [
        # midnight in Shanghai is 16:00 in UTC
        (datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC), date(2026, 3, 1), 1),
        (datetime(2026, 3, 1, 16, 0, 0, tzinfo=UTC), date(2026, 3, 2), 86_400),
        (datetime(2026, 3, 1, 23, 30, 0, tzinfo=UTC), date(2026, 3, 2), 59_400),
    ],
)
def test_the_day_is_that_of_shanghai(now: datetime, today: date, seconds: int) -> None:
    state = quota_state(budget=5, now=now)
    assert state.day == today
    assert state.spend(5).postponed() == Postponed(seconds, Shortage.DAILY_BUDGET)


def test_the_day_does_not_depend_on_the_zone_of_the_connection() -> None:
    now = datetime(2026, 3, 1, 15, 59, tzinfo=UTC)
    elsewhere = now.astimezone(timezone(timedelta(hours=14)))  # it is tomorrow there
    assert quota_state(budget=5, now=elsewhere).day == quota_state(budget=5, now=now).day == TODAY


def test_tokens_that_others_left_can_be_had_at_once() -> None:
    """A race took the requests away that they were kept for: nobody waits until midnight."""
    assert quota_state(budget=5).postponed().seconds <= 0.01
    assert quota_state(per_minute=600, budget=5).postponed().seconds <= 0.01


# Two lanes.


def simulate(
    state: QuotaState, seconds: float, live_every: float | None
) -> tuple[list[datetime], list[datetime], list[float]]:
    """Let a worker with live requests and one with bulk ask, each when it is told to.

    Return the places of both lanes, and how long each live request waited for its own. A live one
    comes every so many seconds; where both ask at the same moment, live is first.
    """
    end, waits = NOON + timedelta(seconds=seconds), []
    places: dict[Lane, list[datetime]] = {lane: [] for lane in Lane}
    asks = dict.fromkeys(Lane, NOON)
    came: list[datetime] = []
    next_live = NOON if live_every else end
    while (moment := min(asks.values())) < end:
        lane = next(each for each in Lane if asks[each] == moment)
        state = later(state, (moment - state.now).total_seconds())
        while next_live <= moment and len(came) < 5_000:
            came.append(next_live)
            next_live += timedelta(seconds=live_every or 0)
        wanted = len(came) if lane is Lane.LIVE else 5_000
        live, bulk = state.shares(*((wanted, 0) if lane is Lane.LIVE else (0, wanted)))
        waited = state.waits([lane] * (live + bulk))
        given = [moment + timedelta(seconds=each) for each in waited]
        places[lane] += given
        state = state.spend(live, bulk)
        if lane is Lane.LIVE:
            waits += [(at - came.pop(0)).total_seconds() for at in given]
        wait = state.postponed(lane).seconds
        asks[lane] = moment + timedelta(seconds=wait)
        if lane is Lane.LIVE and not came:
            asks[lane] = max(moment, next_live)
    return places[Lane.LIVE], places[Lane.BULK], waits


@pytest.mark.parametrize("share", [1, 10, 50, 90])
@pytest.mark.parametrize("per_minute", [6, 60, 600, 60_000])
def test_bulk_gets_its_share_and_no_more_while_live_wants_all(per_minute: int, share: int) -> None:
    quota = Quota(per_minute, None, 4.0, bulk_share=share)
    state = QuotaState(quota, NOON, NOON, TODAY, 0)
    seconds = 3_000 * quota.spacing.total_seconds() if per_minute < 60_000 else 30
    live, bulk, _ = simulate(state, seconds, live_every=0.0005)
    owed = (len(live) + len(bulk)) * share / 100
    # What it is owed at the end it has not asked for yet, and it begins with the first places.
    seconds_of_places = 1 / quota.spacing.total_seconds()
    assert owed - 2 - seconds_of_places <= len(bulk) <= owed + 3 + 2 * seconds_of_places


@pytest.mark.parametrize("per_minute", [100, 600, 60_000])
def test_a_live_request_does_not_wait_for_bulk(per_minute: int) -> None:
    state = quota_state(per_minute=per_minute)
    spacing = state.quota.spacing.total_seconds()
    live, bulk, waits = simulate(state, 120, live_every=10.3 * spacing)
    # The first one finds bulk's places of a second: nobody knew that live comes.
    assert max(waits[1:]) == 0
    assert len(live) + len(bulk) >= 0.99 * 120 / spacing


def test_with_few_calls_a_minute_live_waits_for_a_moment_of_bulk_and_one_place_at_most() -> None:
    state = quota_state(per_minute=99)
    _, _, waits = simulate(state, 120, live_every=1.7)
    ahead = BULK_HORIZON + state.quota.spacing
    assert 0 < max(waits[1:]) <= ahead.total_seconds() + 0.000_001


def test_bulk_alone_has_all_that_live_alone_would_have() -> None:
    none, bulk, _ = simulate(quota_state(per_minute=600), 600, live_every=None)
    assert not none
    assert len(bulk) == pytest.approx(600 / (64 / 600), abs=11)  # those of the last second more


def test_bulk_leaves_the_rest_of_the_day_to_live() -> None:
    quota = Quota(None, 10, 4.0, bulk_daily_call_budget=3)
    state = QuotaState(quota, NOON, NOON, TODAY, 0)
    assert state.shares(0, 20) == (0, 3)
    spent = state.spend(2, 3)
    assert spent.shares(20, 20) == (5, 0)
    assert spent.postponed(Lane.BULK) == Postponed(12 * 3600, Shortage.BULK_BUDGET)
    assert spent.spend(5).postponed(Lane.BULK).shortage is Shortage.DAILY_BUDGET
    # One of three was answered without its call: live does not stop for those who came after it.
    assert state.spend(0, 2).postponed(Lane.BULK).shortage is Shortage.BULK_BUDGET
    assert later(spent, 86_400).shares(4, 20) == (4, 3)


def test_live_has_what_is_left_of_the_day_first() -> None:
    assert quota_state(budget=5).shares(3, 20) == (3, 2)
