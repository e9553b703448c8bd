"""The gate: who may call now, who waits, what a pause does, and what the breaker thread hears."""

from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from threading import Semaphore, Thread

import pytest

from tests.fakes.broker import PATIENCE
from tests.fakes.clock import START, FakeClock
from tests.fakes.verifier import MATCH, fault
from worker.core.breaker import BreakerPolicy, Closed, Open, ParkReason, Probing
from worker.core.claims import Postponed, Shortage
from worker.core.connecting import Unconnected
from worker.core.operations import Pause
from worker.core.outcome import CallClass, CallReport, Charged
from worker.pipeline.gate import Gate
from worker.pipeline.work import GateView

FAILS = fault(CallClass.UNAVAILABLE, Charged.UNKNOWN)
NOT_SENT = fault(CallClass.NOT_SENT)
THROTTLED = CallReport(CallClass.THROTTLED, Charged.NO)
PAUSE = Pause("maintenance of the provider", "ops@desk", START)
NOW = 0.0


class WatchedClock(FakeClock):
    """A clock that says when it was asked, and wakes those who wait for it when it moves."""

    gate: Gate

    def __init__(self) -> None:
        super().__init__()
        self.asked = Semaphore(0)

    def monotonic(self) -> float:
        self.asked.release()
        return super().monotonic()

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake who waits at the gate."""
        super().advance(seconds)
        with self.gate._changed:
            self.gate._changed.notify_all()

    def waits(self, work: Callable[[], object]) -> SimpleQueue[object]:
        """Begin this on a thread and return where its result will be, once it waits at the gate."""
        while self.asked.acquire(blocking=False):
            pass
        done: SimpleQueue[object] = SimpleQueue()
        Thread(target=lambda: done.put(work()), daemon=True).start()
        assert self.asked.acquire(timeout=PATIENCE)
        with self.gate._changed:  # who has asked for the time keeps this until it waits
            assert done.empty()
        return done


def gate_of(ceiling: int = 4, wait: float = 5.0, clock: FakeClock | None = None) -> Gate:
    policy = BreakerPolicy(failures=2, first_wait=wait)
    return Gate(policy, ceiling, clock or FakeClock(), lambda: 0.5)


def watched(ceiling: int = 4) -> tuple[Gate, WatchedClock]:
    clock = WatchedClock()
    clock.gate = gate_of(ceiling, clock=clock)
    return clock.gate, clock


def end_calls(gate: Gate, *reports: CallReport) -> list[bool]:
    """Begin a call for each report, then end them; return which belonged to an outage."""
    for _ in reports:
        assert gate.enter(NOW)
    return [gate.after_call(report) for report in reports]


def reason(gate: Gate) -> ParkReason | None:
    """Ask the gate anew, each time."""
    return gate.parked


@pytest.mark.parametrize("report", [MATCH, None])  # None: its time was over, no call was made
def test_as_many_as_the_ceiling_may_call_at_once(report: CallReport | None) -> None:
    gate, clock = watched(ceiling=2)
    assert gate.enter(NOW)
    assert gate.enter(NOW)
    third = clock.waits(lambda: gate.enter(NOW))
    assert gate.after_call(report) is False
    assert third.get(timeout=PATIENCE) is True
    assert gate.calls == (2, 2)


def test_a_throttled_provider_gets_fewer_calls_at_once_and_the_breaker_thread_hears_it() -> None:
    gate, clock = watched(ceiling=8)
    heard: list[int] = []
    seen = GateView(Closed(), 8)
    for report in (THROTTLED, MATCH) * 3:
        clock.advance(1.0)
        end_calls(gate, report)
        if gate.calls[1] != seen.calls:
            view = gate.await_change(seen)
            assert view is not None
            seen = view
            heard.append(seen.calls)
    assert heard == [4, 2, 1, 2]
    assert gate.enter(NOW)
    assert gate.enter(NOW)
    third = clock.waits(lambda: gate.enter(NOW))
    gate.after_call(MATCH)
    assert third.get(timeout=PATIENCE) is True


def test_a_call_waits_for_its_place_in_the_quota_and_where_the_provider_wants_it_to() -> None:
    gate, clock = watched()
    placed = clock.waits(lambda: gate.enter(5.0))
    clock.advance(5.0)
    assert placed.get(timeout=PATIENCE) is True
    gate.after_call(CallReport(CallClass.THROTTLED, Charged.NO, retry_after=3.0))
    held = clock.waits(lambda: gate.enter(NOW))
    clock.advance(3.0)
    assert held.get(timeout=PATIENCE) is True


CLOSED: dict[str, Callable[[Gate], object]] = {
    "it is open": lambda gate: gate.after_call(fault(CallClass.CREDENTIALS)),
    "it is paused": lambda gate: gate.set_pause(PAUSE, NOW),
    "the order to stop came": lambda gate: gate.shut_down(),
}


@pytest.mark.parametrize("not_before", [NOW, 3_600.0])  # for room; for its place in the quota
@pytest.mark.parametrize("close", CLOSED.values(), ids=CLOSED)
def test_nobody_enters_any_more_and_those_who_wait_are_sent_away(
    close: Callable[[Gate], object], not_before: float
) -> None:
    gate, clock = watched(ceiling=2)
    assert [gate.enter(NOW), gate.enter(NOW)] == [True, True]
    waiting = clock.waits(lambda: gate.enter(not_before))
    close(gate)
    assert waiting.get(timeout=PATIENCE) is False
    assert gate.enter(NOW) is False


def test_its_time_over_one_call_at_a_time_may_probe() -> None:
    gate, clock = watched()
    assert end_calls(gate, FAILS, FAILS) == [False, True]
    assert (gate.open_for, gate.parked) == (5.0, ParkReason.PROVIDER_FAILING)
    clock.advance(5.0)
    assert gate.open_for is None
    assert gate.parked is ParkReason.PROVIDER_FAILING
    assert gate.enter(NOW)
    second = clock.waits(lambda: gate.enter(NOW))
    # The probe belongs to the outage, however it ends.
    assert gate.after_call(FAILS)
    assert second.get(timeout=PATIENCE) is False
    assert gate.open_for == 10.0


def test_a_request_that_was_called_before_probes_where_only_such_come() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    assert gate.enter(NOW, called_before=True)
    gate.after_call(FAILS)
    end_calls(gate, FAILS)
    clock.advance(5.0)
    assert [gate.enter(NOW, called_before=True) for _ in range(11)] == [False] * 10 + [True]
    assert gate.after_call(MATCH)  # the probe's end belongs to the outage
    assert gate.enter(NOW, called_before=True)


def test_a_success_that_nobody_probed_for_is_no_outage() -> None:
    assert end_calls(gate_of(), FAILS, MATCH, FAILS) == [False] * 3


def test_the_breaker_thread_hears_each_change_in_time() -> None:
    gate, clock = watched()
    opened = clock.waits(lambda: gate.await_change(GateView(Closed(), 4)))
    end_calls(gate, FAILS, FAILS)
    seen = opened.get(timeout=PATIENCE)
    assert seen == GateView(Open(ParkReason.PROVIDER_FAILING, 5.0, 1), 1)
    over = clock.waits(lambda: gate.await_change(seen))
    clock.advance(5.0)
    probing = over.get(timeout=PATIENCE)
    assert isinstance(probing, GateView)
    assert isinstance(probing.state, Probing)
    end_calls(gate, MATCH)
    assert gate.await_change(probing) == GateView(Closed(openings=1), 2)


def test_a_spent_budget_parks_and_what_was_granted_before_is_still_called() -> None:
    gate = gate_of()
    end_calls(gate, MATCH)
    gate.budget_spent(Postponed(3_600.0, Shortage.DAILY_BUDGET))
    # The last call has not told why.
    assert (gate.parked, gate.because) == (ParkReason.DAILY_BUDGET, None)
    assert gate.open_for == 120.0
    assert end_calls(gate, FAILS) == [False]
    assert gate.calls == (0, 4)


def test_a_budget_that_is_spent_in_an_outage_lets_no_call_begin() -> None:
    gate = gate_of()
    end_calls(gate, FAILS, FAILS)
    gate.budget_spent(Postponed(3_600.0, Shortage.DAILY_BUDGET))
    assert (gate.parked, gate.enter(NOW)) == (ParkReason.PROVIDER_FAILING, False)


def test_an_outage_that_is_met_after_a_spent_budget_is_one() -> None:
    gate = gate_of(clock=(clock := FakeClock()))
    gate.budget_spent(Postponed(60.0, Shortage.DAILY_BUDGET))
    clock.advance(60.0)
    assert end_calls(gate, FAILS) == [True]
    assert gate.parked is ParkReason.PROVIDER_FAILING


@pytest.mark.parametrize("opened", [False, True])
def test_shutting_down_lets_the_breaker_thread_go(opened: bool) -> None:
    gate, clock = watched()
    seen: GateView | None = GateView(Closed(), 4)
    if opened:
        end_calls(gate, FAILS, FAILS)
        seen = gate.await_change(GateView(Closed(), 4))
    assert seen is not None
    waiting = clock.waits(lambda: gate.await_change(seen))
    gate.shut_down()
    assert waiting.get(timeout=PATIENCE) is None


def test_a_pause_never_probes_and_the_breaker_goes_on_beneath_it() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    assert [gate.enter(NOW), gate.enter(NOW)] == [True, True]
    gate.set_pause(PAUSE, NOW)
    gate.after_call(FAILS)
    gate.after_call(FAILS)
    clock.advance(100.0)
    assert gate.await_change(GateView(Closed(), 1)) == GateView(PAUSE, 1)
    assert gate.enter(NOW) is False
    assert (reason(gate), gate.open_for) == (ParkReason.PAUSED, 0.0)
    gate.set_pause(None, clock.monotonic())
    assert reason(gate) is ParkReason.PROVIDER_FAILING
    assert gate.enter(NOW)  # the probe


def test_what_was_read_of_a_pause_is_known_for_three_seconds() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    known = [gate.pause_is_known]  # nobody reads it
    gate.expect_pause_reports()
    known.append(gate.pause_is_known)
    gate.set_pause(None, clock.monotonic())
    for passed in (3.0, 0.1):
        clock.advance(passed)
        known.append(gate.pause_is_known)
    assert known == [True, False, True, False]


@pytest.mark.parametrize("ordered", [None, PAUSE])
def test_no_call_begins_before_a_look_at_the_orders_that_is_fresh(ordered: Pause | None) -> None:
    gate, clock = watched()
    gate.expect_pause_reports()
    gate.set_pause(None, NOW)
    assert gate.enter(NOW)
    clock.advance(3.1)  # as a process that was frozen finds it
    waiting = clock.waits(lambda: gate.enter(NOW))
    gate.set_pause(ordered, clock.monotonic())
    assert waiting.get(timeout=PATIENCE) is (ordered is None)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (replace(FAILS, http_status=503, status="UNAVAILABLE"), "HTTP 503 UNAVAILABLE"),
        (FAILS, "no answer"),
        (
            replace(NOT_SENT, not_sent_because=Unconnected.REFUSED),
            "nobody listens at host and port of PROVIDER_URL",
        ),
    ],
)
def test_why_it_is_parked_is_what_the_last_call_met(report: CallReport, words: str) -> None:
    gate = gate_of()
    end_calls(gate, report, report, report)
    assert (gate.parked, gate.because) == (ParkReason.PROVIDER_FAILING, words)
    gate.set_pause(PAUSE, NOW)
    assert gate.because == PAUSE.reason
