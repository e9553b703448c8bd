"""When to stop calling, and how many calls at once where there is no reason to stop."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.breaker import (
    SHORT_HOLD,
    Allowance,
    BreakerPolicy,
    BreakerState,
    Closed,
    Open,
    ParkReason,
    Probing,
    after_call,
    after_shortage,
    at,
)
from worker.core.outcome import CallClass, CallReport, Charged

POLICY = BreakerPolicy(failures=3, first_wait=5.0, longest_wait=300.0)
C = CallClass
MIDDLE = 0.5
"""The chance at which a wait is neither shortened nor lengthened."""


def report(
    call_class: CallClass, retry_after: float | None = None, seconds: float = 0.0
) -> CallReport:
    return CallReport(call_class, Charged.NO, seconds=seconds, retry_after=retry_after)


def after(state: BreakerState, *classes: CallClass, now: float = 100.0) -> BreakerState:
    for call_class in classes:
        state = after_call(state, report(call_class), POLICY, now, MIDDLE)
    return state


TRANSIENT = [
    C.UNAVAILABLE,
    C.NOT_SENT,
    C.IN_DOUBT,
    C.SOURCE_FAILED,
    C.THROTTLED,
    C.FOREIGN,  # a page of something in between: an outage, or a firewall against one person
    # A gateway's page with status 200 would otherwise end every request of the backlog.
    C.PROTOCOL_ERROR,
]


PROBING = Probing(ParkReason.PROVIDER_FAILING, openings=1)
BUDGETED = Probing(ParkReason.DAILY_BUDGET, openings=0)
SPENT = Open(ParkReason.QUOTA, until=200.0, openings=1)
UNWELL = Closed(openings=4)


@pytest.mark.parametrize(
    ("state", "calls", "expected"),
    [
        # failures in a row open it
        *((Closed(), [each] * 2, Closed(failures=2)) for each in TRANSIENT),
        *(
            (Closed(), [each] * 3, Open(ParkReason.PROVIDER_FAILING, until=105.0, openings=1))
            for each in TRANSIENT
        ),
        # an answer between them begins the count anew, also between one person's foreign pages
        *(
            (Closed(), [fault, fault, each, fault], Closed(failures=1))
            for each in (C.ANSWERED, C.REFUSED)
            for fault in (C.UNAVAILABLE, C.FOREIGN)
        ),
        # what would meet everybody opens it at once
        (Closed(), [C.CREDENTIALS], Open(ParkReason.CREDENTIALS, until=105.0, openings=1)),
        (Closed(), [C.QUOTA], Open(ParkReason.QUOTA, until=105.0, openings=1)),
        # calls that began before it opened change nothing
        *((SPENT, [each], SPENT) for each in CallClass),
        # a probe that succeeds closes it, and one that fails opens it for longer
        (PROBING, [C.ANSWERED], Closed(openings=1)),
        (PROBING, [C.UNAVAILABLE], Open(ParkReason.PROVIDER_FAILING, until=110.0, openings=2)),
        (PROBING, [C.CREDENTIALS], Open(ParkReason.CREDENTIALS, until=110.0, openings=2)),
        # one after a spent budget that fails tells of an outage as well
        (BUDGETED, [C.UNAVAILABLE], Open(ParkReason.PROVIDER_FAILING, until=105.0, openings=1)),
        # an outage is over after twenty successes; after a failure between them it is not well yet
        (UNWELL, [C.ANSWERED] * 19, replace(UNWELL, successes=19)),
        (UNWELL, [C.ANSWERED] * 20, Closed()),
        (UNWELL, [*[C.ANSWERED] * 19, C.UNAVAILABLE, C.ANSWERED], replace(UNWELL, successes=1)),
    ],
)
def test_calls_close_it_and_open_it(
    state: BreakerState, calls: list[CallClass], expected: BreakerState
) -> None:
    assert after(state, *calls) == expected


def test_a_pause_that_the_provider_asks_for_is_kept_to_the_second() -> None:
    asked = report(C.THROTTLED, retry_after=60.0)
    opened = after_call(Closed(), asked, POLICY, 100.0, MIDDLE)
    assert opened == Open(ParkReason.THROTTLED, until=160.0, openings=1)
    again = after_call(Probing(ParkReason.THROTTLED, 1), asked, POLICY, 200.0, MIDDLE)
    assert again == Open(ParkReason.THROTTLED, until=260.0, openings=2)


def test_a_short_pause_is_only_a_failure() -> None:
    asked = report(C.THROTTLED, retry_after=SHORT_HOLD)
    assert after_call(Closed(), asked, POLICY, 100.0, MIDDLE) == Closed(failures=1)


def test_a_well_worker_makes_no_new_value_per_call() -> None:
    closed = Closed()
    assert after(closed, C.ANSWERED) is closed


def test_a_spent_budget_is_asked_again_at_the_longest_interval() -> None:
    assert after_shortage(Closed(), 40_000.0, POLICY, 100.0) == Open(
        ParkReason.DAILY_BUDGET, until=400.0, openings=0
    )
    assert after_shortage(Closed(), 7.0, POLICY, 100.0).until == 107.0


def test_a_spent_budget_ends_no_outage() -> None:
    assert after_shortage(SPENT, 40_000.0, POLICY, 100.0) is SPENT
    budget = Open(ParkReason.DAILY_BUDGET, until=400.0, openings=1)
    assert after_shortage(PROBING, 40_000.0, POLICY, 100.0) == budget  # nothing to probe with


def test_the_waits_double_up_to_the_longest() -> None:
    waits = [POLICY.wait(openings, MIDDLE) for openings in (*range(8), 10_000)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_replicas_that_parked_together_probe_apart() -> None:
    assert [round(POLICY.wait(0, chance), 3) for chance in (0.0, 1.0)] == [4.0, 6.0]


@given(st.lists(st.tuples(st.sampled_from(list(CallClass)), st.floats(0, 400))))
def test_whatever_happens_it_never_stays_open_for_ever(
    story: list[tuple[CallClass, float]],
) -> None:
    state: BreakerState = Closed()
    now = 0.0
    for call_class, passed in story:
        now += passed
        state = after_call(at(state, now), report(call_class), POLICY, now, MIDDLE)
        if isinstance(state, Open):
            assert state.until - now <= POLICY.longest_wait * 1.2


# The allowance: halved by a throttle, raised by successes.


def test_a_throttle_halves_the_allowance_once_per_round() -> None:
    halved = Allowance.full(32).after(report(C.THROTTLED, seconds=0.3), now=10.0)
    assert halved.calls == 16
    # This call began at 9.8, before the cut: it says nothing about sixteen at once.
    assert halved.after(report(C.THROTTLED, seconds=0.3), now=10.1).calls == 16
    assert halved.after(report(C.THROTTLED, seconds=0.3), now=10.4).calls == 8


def test_after_a_throttle_a_whole_round_of_successes_adds_one() -> None:
    allowance = Allowance.full(32).after(report(C.THROTTLED), now=10.0)
    for _ in range(17):
        allowance = allowance.after(report(C.ANSWERED), now=11.0)
    assert allowance.calls == 17


def test_after_an_outage_each_round_doubles_the_allowance() -> None:
    allowance, rounds = Allowance.cautious(32), 0
    while allowance.calls < 32:
        for _ in range(allowance.calls):
            allowance = allowance.after(report(C.ANSWERED), now=1.0)
        rounds += 1
    assert rounds == 5


# other faults are the breaker's business
@pytest.mark.parametrize(
    "call_class", [C.ANSWERED, C.UNAVAILABLE, C.IN_DOUBT, C.NOT_SENT, C.CREDENTIALS]
)
def test_a_full_allowance_stays_as_it_is_but_for_a_throttle(call_class: CallClass) -> None:
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
def test_an_allowance_stays_between_one_and_its_ceiling(
    ceiling: int, story: list[CallClass]
) -> None:
    allowance = Allowance.full(ceiling)
    for step, call_class in enumerate(story):
        allowance = allowance.after(report(call_class), now=float(step))
        assert 1 <= allowance.calls <= ceiling
