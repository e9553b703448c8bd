"""How many calls at once: halved by a throttle, raised by successes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.breaker import Allowance
from worker.core.outcome import CallClass, CallReport, Charged

C = CallClass


def report(
    call_class: CallClass, seconds: float = 0.0, retry_after: float | None = None
) -> CallReport:
    return CallReport(call_class, Charged.NO, seconds=seconds, retry_after=retry_after)


def test_a_throttle_halves_it_once_per_round() -> None:
    halved = Allowance.full(32).after(report(C.THROTTLED, seconds=0.3), now=10.0)
    assert halved.calls == 16
    # This call began at 9.8, before the cut: it says nothing about sixteen at once.
    assert halved.after(report(C.THROTTLED, seconds=0.3), now=10.1).calls == 16
    assert halved.after(report(C.THROTTLED, seconds=0.3), now=10.4).calls == 8


def test_it_never_falls_below_one_call() -> None:
    one = Allowance.cautious(32)
    assert one.after(report(C.THROTTLED), now=10.0).calls == 1


def test_after_a_throttle_a_whole_round_of_successes_adds_one() -> None:
    allowance = Allowance.full(32).after(report(C.THROTTLED), now=10.0)
    for _ in range(17):
        allowance = allowance.after(report(C.ANSWERED), now=11.0)
    assert allowance.calls == 17


def test_after_an_outage_each_round_doubles_it() -> None:
    allowance, rounds = Allowance.cautious(32), 0
    while allowance.calls < 32:
        for _ in range(allowance.calls):
            allowance = allowance.after(report(C.ANSWERED), now=1.0)
        rounds += 1
    assert rounds == 5


def test_a_full_allowance_stays_as_it_is() -> None:
    full = Allowance.full(32)
    assert full.after(report(C.ANSWERED), now=1.0) is full


@pytest.mark.parametrize("call_class", [C.UNAVAILABLE, C.IN_DOUBT, C.NOT_SENT, C.CREDENTIALS])
def test_other_faults_are_the_breakers_business(call_class: CallClass) -> None:
    full = Allowance.full(32)
    assert full.after(report(call_class), now=1.0) is full


def test_a_short_pause_is_held_and_a_long_one_left_to_the_breaker() -> None:
    held = Allowance.full(4).after(report(C.THROTTLED, retry_after=3.0), now=10.0)
    assert held.hold_until == 13.0
    # A shorter pause asked for later does not end the longer one.
    assert held.after(report(C.THROTTLED, retry_after=1.0), now=10.5).hold_until == 13.0
    long = Allowance.full(4).after(report(C.THROTTLED, retry_after=60.0), now=10.0)
    assert long.hold_until < 10.0


@given(st.integers(1, 300), st.lists(st.sampled_from(list(CallClass)), max_size=200))
def test_it_stays_between_one_and_its_ceiling(ceiling: int, story: list[CallClass]) -> None:
    allowance = Allowance.full(ceiling)
    for step, call_class in enumerate(story):
        allowance = allowance.after(report(call_class), now=float(step))
        assert 1 <= allowance.calls <= ceiling
