"""The gate: who may call now, who waits, and what the warden hears."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.fakes.broker import PATIENCE
from tests.fakes.clock import FakeClock
from tests.fakes.verifier import MATCH, fault
from worker.core.breaker import BreakerPolicy, Closed, Open, ParkReason, Probing
from worker.core.claims import Postponed, Shortage
from worker.core.outcome import CallClass, CallReport, Charged
from worker.pipeline.gate import Gate
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.ports import Clock

FAILS = fault(CallClass.UNAVAILABLE, Charged.UNKNOWN)
NOW = 0.0


def gate_of(
    ceiling: int = 4,
    *,
    clock: Clock | None = None,
    wait: float = 5.0,
    on_allowance: Callable[[int], None] = lambda _calls: None,
) -> Gate:
    policy = BreakerPolicy(failures=2, first_wait=wait)
    return Gate(policy, ceiling, clock or FakeClock(), lambda: 0.5, on_allowance)


def is_open(gate: Gate) -> bool:
    """Ask the gate anew, each time."""
    return gate.open_for is not None


def in_background(work: Callable[[], object]) -> SimpleQueue[object]:
    """Return where the work's result will be."""
    done: SimpleQueue[object] = SimpleQueue()
    Thread(target=lambda: done.put(work()), daemon=True).start()
    return done


def throttled(gate: Gate, clock: FakeClock, times: int) -> None:
    for _ in range(times):
        clock.advance(1.0)
        gate.heard(CallReport(CallClass.THROTTLED, Charged.NO))
        gate.heard(MATCH)


def test_as_many_as_the_ceiling_may_call_at_once() -> None:
    gate = gate_of(ceiling=2)
    assert gate.enter(NOW)
    assert gate.enter(NOW)
    third = in_background(lambda: gate.enter(NOW))
    assert third.empty()
    gate.leave()
    assert third.get(timeout=PATIENCE) is True


def test_a_throttled_provider_gets_fewer_calls_at_once_and_the_claimer_hears_it() -> None:
    allowed: list[int] = []
    clock = FakeClock()
    gate = gate_of(ceiling=8, clock=clock, on_allowance=allowed.append)
    throttled(gate, clock, times=3)
    assert allowed == [4, 2, 1, 2]
    assert gate.enter(NOW)
    assert gate.enter(NOW)
    third = in_background(lambda: gate.enter(NOW))
    assert third.empty()
    gate.leave()
    assert third.get(timeout=PATIENCE) is True


def test_a_call_waits_for_its_place_in_the_quota_and_for_a_pause() -> None:
    clock = SystemClock()
    gate = gate_of(clock=clock)
    begun = clock.monotonic()
    assert gate.enter(begun + 0.05)
    assert clock.monotonic() - begun >= 0.05
    gate.heard(CallReport(CallClass.THROTTLED, Charged.NO, retry_after=0.1))
    paused = clock.monotonic()
    gate.leave()
    assert gate.enter(NOW)
    assert clock.monotonic() - paused >= 0.09


def test_while_it_is_open_nobody_enters_and_those_who_wait_are_sent_away() -> None:
    gate = gate_of(ceiling=1)
    assert gate.enter(NOW)
    waiting = in_background(lambda: gate.enter(NOW))
    assert not gate.heard(FAILS)
    assert not is_open(gate)
    assert gate.heard(FAILS)
    assert is_open(gate)
    assert waiting.get(timeout=PATIENCE) is False
    assert gate.enter(NOW) is False
    assert gate.open_for == 5.0
    assert gate.parked is ParkReason.PROVIDER_FAILING


def test_its_time_over_one_call_at_a_time_may_probe() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    gate.heard(FAILS)
    gate.heard(FAILS)
    clock.advance(5.0)
    assert gate.open_for is None
    assert gate.parked is ParkReason.PROVIDER_FAILING
    assert gate.enter(NOW)
    second = in_background(lambda: gate.enter(NOW))
    assert second.empty()
    # The probe belongs to the outage, however it ends.
    assert gate.heard(FAILS)
    assert second.get(timeout=PATIENCE) is False
    assert gate.open_for == 10.0


def test_a_request_that_was_called_before_is_no_probe_while_there_may_be_others() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    assert gate.enter(NOW, called_before=True)
    gate.heard(FAILS)
    gate.heard(FAILS)
    gate.leave()
    clock.advance(5.0)
    assert [gate.enter(NOW, called_before=True) for _ in range(3)] == [False] * 3
    assert gate.enter(NOW)
    gate.heard(MATCH)
    gate.leave()
    assert gate.enter(NOW, called_before=True)


def test_where_only_such_requests_come_one_of_them_probes() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    gate.heard(FAILS)
    gate.heard(FAILS)
    clock.advance(5.0)
    assert [gate.enter(NOW, called_before=True) for _ in range(11)] == [False] * 10 + [True]


def test_a_success_that_nobody_probed_for_is_no_outage() -> None:
    gate = gate_of()
    assert not gate.heard(FAILS)
    assert not gate.heard(MATCH)
    assert not gate.heard(FAILS)


def test_the_warden_hears_each_change_in_time() -> None:
    gate = gate_of(clock=SystemClock(), wait=0.05)
    opened = in_background(lambda: gate.await_change(Closed()))
    gate.heard(FAILS)
    gate.heard(FAILS)
    state = opened.get(timeout=PATIENCE)
    assert isinstance(state, Open)
    probing = gate.await_change(state)
    assert isinstance(probing, Probing)
    gate.heard(MATCH)
    assert isinstance(gate.await_change(probing), Closed)


def test_a_spent_budget_parks_and_what_was_granted_before_is_still_called() -> None:
    allowed: list[int] = []
    gate = gate_of(on_allowance=allowed.append)
    gate.run_short(Postponed(3_600.0, Shortage.DAILY_BUDGET))
    assert gate.parked is ParkReason.DAILY_BUDGET
    assert gate.open_for == 120.0
    assert gate.enter(NOW)
    assert not gate.heard(FAILS)
    assert allowed == []


@pytest.mark.parametrize("opened", [False, True])
def test_shutting_down_lets_the_warden_go_and_changes_nothing_for_callers(opened: bool) -> None:
    gate = gate_of()
    if opened:
        gate.heard(FAILS)
        gate.heard(FAILS)
    seen = gate.await_change(Closed()) if opened else Closed()
    assert seen is not None
    waiting = in_background(lambda: gate.await_change(seen))
    gate.shut_down()
    assert waiting.get(timeout=PATIENCE) is None
    assert gate.enter(NOW) is not opened
