"""A sliding minute against what one would count by hand, and against brute force."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sandbox.caller import OF_ANY_DATE, Caller, Clock
from worker.sandbox.charges import PeakRate
from worker.sandbox.minute import SlidingMinute
from worker.sandbox.server import Sandbox

# Halves, so that times fall together, and exactly 60 s apart, often.
TIMES = st.lists(st.integers(0, 400).map(lambda half: half / 2), max_size=40).map(sorted)
ANYONE = "11010119900307109X"


def within(times: list[float], now: float) -> int:
    return sum(now - 60 < time <= now for time in times)


@pytest.mark.parametrize(
    ("times", "counted"),
    [
        ([0.5, 60.4], [1, 2]),
        # 60 s later the first has left.
        ([0.5, 60.5], [1, 1]),
        ([0.0, 0.0, 59.0, 61.0, 200.0], [1, 2, 3, 2, 1]),
    ],
)
def test_a_time_counts_until_it_is_sixty_seconds_old(
    times: list[float], counted: list[int]
) -> None:
    minute = SlidingMinute()
    assert [minute.add(time) for time in times] == counted


@given(TIMES)
@settings(deadline=None)
def test_a_sliding_minute_counts_what_is_in_it(times: list[float]) -> None:
    minute = SlidingMinute()
    for place, now in enumerate(times):
        assert minute.add(now) == within(times[: place + 1], now)


@given(TIMES, st.integers(0, 5))
@settings(deadline=None)
def test_what_passes_below_a_limit_never_exceeds_it_and_nothing_else_is_held_back(
    times: list[float], limit: int
) -> None:
    minute = SlidingMinute()
    passed: list[float] = []
    for now in times:
        room = within(passed, now) < limit
        assert minute.add_below(limit, now) is room
        if room:
            passed.append(now)
            assert within(passed, now) <= limit


def test_the_peak_of_a_sliding_minute_is_exact_where_whole_seconds_are_not() -> None:
    clock = Clock()
    with Sandbox(OF_ANY_DATE, clock) as sandbox:
        for clock.now in (0.5, 30.0, 60.4, 60.5, 300.0):
            Caller(sandbox).call(ANYONE)
        counts = sandbox.charges()
    assert counts.max_calls_per_minute == 3, "0.5, 30 and 60.4; or 30, 60.4 and 60.5"
    rate = PeakRate()
    for now in (0.5, 60.4):
        rate.count(now)
    assert rate.per_60_seconds == 1, "of whole seconds, second 0 has left at second 60"
