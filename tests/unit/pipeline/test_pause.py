"""A person's pause: nobody calls, nothing is counted, and all goes on when it is lifted."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import until
from tests.fakes.broker import PATIENCE, FakeBroker
from tests.fakes.clock import START, FakeClock
from tests.fakes.verifier import MATCH, fault
from tests.unit.pipeline.desk import Desk
from tests.unit.pipeline.test_gate import FAILS, NOW, gate_of, in_background
from tests.unit.pipeline.test_parking import (
    ALL,
    PAUSE,
    RETRY_5S,
    Patient,
    give,
    running,
    where_to,
)
from worker.core.breaker import Closed, Open, ParkReason
from worker.core.operations import Pause
from worker.core.outcome import CallClass
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from worker.core.outcome import CallReport
    from worker.core.request import VerificationRequest
    from worker.pipeline.gate import Gate


class Begun(Patient):
    """A provider that says when a call has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = Event()

    def verify(self, request: VerificationRequest) -> CallReport:
        """Say so, and wait."""
        self.begun.set()
        return super().verify(request)


HOLD = Pause("maintenance of the provider", "ops@desk", START)


def heard(gate: Gate) -> bool:
    """Ask the gate anew, each time."""
    return gate.is_told


def reason(gate: Gate) -> ParkReason | None:
    """Ask the gate anew, each time."""
    return gate.parked


def test_while_paused_nobody_enters_and_those_who_wait_are_sent_away() -> None:
    gate = gate_of(ceiling=1)
    assert gate.enter(NOW)
    waiting = in_background(lambda: gate.enter(NOW))
    gate.tell(HOLD, NOW)
    assert waiting.get(timeout=PATIENCE) is False
    assert gate.enter(NOW) is False
    assert gate.open_for == 0.0
    assert reason(gate) is ParkReason.PAUSED
    gate.tell(None, NOW)
    gate.leave()
    assert gate.enter(NOW)
    assert reason(gate) is None


def test_a_call_that_waits_for_its_place_in_the_quota_is_sent_away_too() -> None:
    clock = SystemClock()
    gate = gate_of(clock=clock)
    waiting = in_background(lambda: gate.enter(clock.monotonic() + 3_600.0))
    gate.tell(HOLD, clock.monotonic())
    assert waiting.get(timeout=PATIENCE) is False


def test_a_pause_never_probes_and_the_breaker_goes_on_beneath_it() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    gate.tell(HOLD, NOW)
    gate.heard(FAILS)
    gate.heard(FAILS)  # of calls that were under way
    clock.advance(100.0)
    assert gate.await_change(Closed()) is HOLD
    assert gate.enter(NOW) is False
    assert reason(gate) is ParkReason.PAUSED
    gate.tell(None, clock.monotonic())
    assert reason(gate) is ParkReason.PROVIDER_FAILING
    assert gate.enter(NOW)  # the probe


def test_the_warden_hears_a_pause_and_its_end() -> None:
    gate = gate_of(clock=SystemClock(), wait=60.0)
    paused = in_background(lambda: gate.await_change(Closed()))
    gate.tell(HOLD, NOW)
    assert paused.get(timeout=PATIENCE) is HOLD
    lifted = in_background(lambda: gate.await_change(HOLD))
    gate.tell(HOLD, NOW)
    gate.heard(FAILS)
    gate.heard(FAILS)
    assert lifted.empty()
    gate.tell(None, NOW)
    assert isinstance(lifted.get(timeout=PATIENCE), Open)


def test_who_listens_is_told_for_three_seconds() -> None:
    clock = FakeClock()
    gate = gate_of(clock=clock)
    assert heard(gate)  # nobody is watched for
    gate.listen()
    assert not heard(gate)
    gate.tell(None, clock.monotonic())
    clock.advance(3.0)
    assert heard(gate)
    clock.advance(0.1)
    assert not heard(gate)


def test_a_paused_worker_finishes_its_call_and_hands_back_the_rest_uncounted() -> None:
    broker, provider = FakeBroker(), Begun()
    desk = Desk(verifier=provider)
    with running(desk, broker, wait=60.0) as pipeline:
        give(pipeline, "called", "claimed", "held-1", "held-2")
        desk.ledger.wait_until(lambda: len(desk.book.rows) == 2)
        assert provider.begun.wait(PATIENCE)
        pipeline.obey(HOLD, SystemClock().monotonic())
        broker.wait_until_wanted(PAUSE)
        assert pipeline.hold is HOLD
        provider.answers.set()
        broker.wait_for(4)
        assert len(provider.asked) == 1
        assert desk.row("called").result is not None
        left = desk.row("claimed")
        assert (left.state, left.attempts, left.in_doubt_calls, left.calls) == ("waiting", 0, 0, [])
        places = where_to(broker)
        assert [places[each] for each in ("claimed", "held-1", "held-2")] == [RETRY_5S] * 3
        give(pipeline, "late")
        broker.wait_for(5)
        pipeline.obey(None, SystemClock().monotonic())
        broker.wait_until_wanted(PAUSE, ALL)
        give(pipeline, "claimed", "held-1", "held-2", "late")
        broker.wait_for(9)
    assert {row.result is not None for row in desk.book.rows.values()} == {True}
    assert len(provider.asked) == 5


def test_a_claim_whose_answer_was_lost_is_let_go_when_a_pause_comes_before_the_next_try() -> None:
    """Handed back as if it were not claimed, its intent would count as a call in doubt."""
    broker = FakeBroker()
    desk = Desk()
    desk.ledger.lose_answers = 1
    with running(desk, broker, wait=60.0) as pipeline:
        give(pipeline, "claimed")
        desk.ledger.wait_until(lambda: "claimed" in desk.book.rows)
        pipeline.obey(HOLD, SystemClock().monotonic())
        broker.wait_for(1)
    row = desk.row("claimed")
    assert (row.state, row.in_doubt_calls, row.calls) == ("waiting", 0, [])
    assert desk.provider.asked == []


def test_who_listens_claims_nothing_before_a_word_is_heard() -> None:
    """As when the database is back: a pause may have been ordered before anybody looked."""
    broker = FakeBroker()
    desk = Desk()
    with running(desk, broker, wait=60.0) as pipeline:
        pipeline.listen()
        give(pipeline, "first")
        until(lambda: not pipeline.database_answers)
        assert desk.book.rows == {}
        pipeline.obey(None, SystemClock().monotonic())
        broker.wait_for(1)
    assert desk.row("first").result is not None


@pytest.mark.parametrize("call_class", [CallClass.CREDENTIALS, CallClass.QUOTA])
def test_what_calls_under_way_teach_is_learnt(call_class: CallClass) -> None:
    gate = gate_of()
    gate.tell(HOLD, NOW)
    gate.heard(fault(call_class))
    gate.tell(None, NOW)
    assert reason(gate) is not None
    assert reason(gate) is not ParkReason.PAUSED
    assert not gate.heard(MATCH) or gate.open_for is not None
