"""The pipeline's threads: all that is delivered is settled, and stopping loses nothing paid."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.fakes.broker import PATIENCE, FakeBroker
from tests.fakes.messages import ID_CARD, deliver, request
from tests.fakes.verifier import FakeVerifier
from tests.unit.pipeline.desk import Desk
from worker.core.breaker import BreakerPolicy
from worker.core.errors import LedgerUnavailable
from worker.pipeline import database_retry, runner
from worker.pipeline.runner import Pipeline, PipelineSize
from worker.telemetry.events import LogEvent
from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from worker.core.delivery import Delivery
    from worker.core.outcome import CallReport
    from worker.core.request import VerificationRequest

AWAY = LedgerUnavailable("OperationalError")


class HeldVerifier(FakeVerifier):
    """A provider that answers nobody until `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()

    def verify(self, request: VerificationRequest) -> CallReport:
        """Wait for the gate."""
        assert self.gate.wait(PATIENCE)
        return super().verify(request)


class Stack:
    """A pipeline between fakes. Its clock stands, so a deadline is how long `stop` may wait."""

    def __init__(self, desk: Desk, callers: int) -> None:
        self.desk = desk
        self.broker = FakeBroker()
        self.failed = Event()
        self.metrics = Metrics()
        size = PipelineSize(callers, batch_limit=4)
        self.pipeline = Pipeline(
            desk.flow,
            self.broker,
            desk.clock,
            size,
            BreakerPolicy(),
            self.failed.set,
            self.metrics,
        )

    def deliver(self, count: int) -> list[Delivery]:
        """Deliver so many requests with ids of their own."""
        deliveries = [deliver(request(f"onb-{number}")) for number in range(count)]
        for delivery in deliveries:
            self.pipeline.deliver(delivery)
        return deliveries

    def wait_for_claims(self, count: int) -> None:
        """Return when so many requests are claimed."""
        self.desk.ledger.wait_until(lambda: len(self.desk.book.rows) >= count)

    def wait_for_faults(self, left: int) -> None:
        """Return when the ledger has raised all but so many of its faults."""
        self.desk.ledger.wait_until(lambda: len(self.desk.ledger.faults) <= left)

    def database_answers(self) -> bool:
        """Ask the pipeline anew, each time."""
        return self.pipeline.database_answers

    def end_faults(self) -> None:
        """Let the database answer again."""
        with self.desk.book.changed:
            self.desk.ledger.faults.clear()


@contextmanager
def running(desk: Desk | None = None, callers: int = 2) -> Iterator[Stack]:
    stack = Stack(desk or Desk(), callers)
    stack.pipeline.start()
    try:
        yield stack
    finally:
        stack.pipeline.stop(PATIENCE)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_retry, "DATABASE_PAUSE", 0.01)
    monkeypatch.setattr(runner, "ANNOUNCE_PAUSE", 0.01)


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines


def lines_of(
    log: list[MutableMapping[str, Any]], event: LogEvent
) -> list[MutableMapping[str, Any]]:
    return [line for line in log if line["event"] == event]


def test_every_delivery_is_settled_once() -> None:
    with running() as stack:
        deliveries = stack.deliver(25)
        settled = stack.broker.wait_for(25)
    assert sorted(each.delivery.tag for each in settled) == [each.tag for each in deliveries]
    assert {each.line["action"] for each in settled} == {"completed"}
    assert len(stack.desk.provider.asked) == 25


def test_what_needs_no_call_takes_no_credit() -> None:
    verifier = HeldVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.deliver(1)
        stack.wait_for_claims(1)
        # The one caller is busy; far more than its two credits go past it.
        for _ in range(20):
            stack.pipeline.deliver(deliver(b"nothing"))
        stack.broker.wait_for(20)
        verifier.gate.set()
        stack.broker.wait_for(21)


def test_no_more_is_claimed_than_callers_can_soon_call() -> None:
    verifier = HeldVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.deliver(5)
        stack.wait_for_claims(2)
        assert len(stack.desk.book.rows) == 2
        verifier.gate.set()
        stack.broker.wait_for(5)


def test_confirmed_events_are_marked_and_each_message_is_one_log_line(
    log: list[MutableMapping[str, Any]],
) -> None:
    with running() as stack:
        stack.deliver(3)
        stack.broker.wait_for(3)
        assert not any(row.announced for row in stack.desk.book.rows.values())
        assert lines_of(log, LogEvent.SETTLED) == []
        assert stack.broker.confirm(stack.pipeline) == 3
        stack.desk.ledger.wait_until(
            lambda: all(row.announced for row in stack.desk.book.rows.values())
        )
    lines = lines_of(log, LogEvent.SETTLED)
    assert sorted(line["request_id"] for line in lines) == ["onb-0", "onb-1", "onb-2"]
    assert {line["action"] for line in lines} == {"completed"}


def test_a_message_without_an_event_of_a_row_is_logged_and_marks_nothing(
    log: list[MutableMapping[str, Any]],
) -> None:
    with running() as stack:
        stack.pipeline.deliver(deliver(b"nothing"))
        stack.broker.wait_for(1)
        stack.broker.confirm(stack.pipeline)
    assert [line["reason"] for line in lines_of(log, LogEvent.SETTLED)] == ["not_json"]


def test_marks_that_came_after_the_last_record_are_written_at_the_end() -> None:
    with running() as stack:
        stack.deliver(2)
        stack.broker.wait_for(2)
        assert stack.pipeline.stop(PATIENCE)
    stack.broker.confirm(stack.pipeline)
    stack.pipeline.flush_announced()
    assert all(row.announced for row in stack.desk.book.rows.values())


def test_marks_are_left_to_the_relay_where_the_database_is_away_at_the_end(
    log: list[MutableMapping[str, Any]],
) -> None:
    with running() as stack:
        stack.deliver(1)
        stack.broker.wait_for(1)
        assert stack.pipeline.stop(PATIENCE)
    stack.broker.confirm(stack.pipeline)
    stack.desk.ledger.faults.append(AWAY)
    stack.pipeline.flush_announced()
    assert not stack.desk.row("onb-0").announced
    assert len(lines_of(log, LogEvent.DATABASE_UNAVAILABLE)) == 1


def test_stopping_finishes_what_is_claimed_and_leaves_the_rest() -> None:
    verifier = HeldVerifier()
    before = set(threading.enumerate())
    with running(Desk(verifier=verifier), callers=1) as stack:
        (claimer,) = [
            each for each in set(threading.enumerate()) - before if each.name == "claimer"
        ]
        stack.deliver(5)
        stack.wait_for_claims(2)
        clean: list[bool] = []
        stopper = Thread(target=lambda: clean.append(stack.pipeline.stop(PATIENCE)))
        stopper.start()
        claimer.join(PATIENCE)  # the stop has begun: nothing more is claimed
        verifier.gate.set()
        stopper.join(PATIENCE)
        assert clean == [True]
        assert len(stack.broker.settled) == 2
        assert {row.state for row in stack.desk.book.rows.values()} == {"done"}
        assert len(stack.desk.book.rows) == len(verifier.asked) == 2
        assert set(threading.enumerate()) <= before


def test_stopping_says_when_a_call_outlasts_the_grace() -> None:
    verifier = HeldVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.deliver(1)
        stack.wait_for_claims(1)
        assert not stack.pipeline.stop(0.05)
        verifier.gate.set()


def test_stopping_an_idle_pipeline_is_clean() -> None:
    with running() as stack:
        assert stack.pipeline.stop(PATIENCE)
    assert not stack.failed.is_set()


def test_a_claim_waits_for_the_database_and_is_then_made_under_its_first_name(
    log: list[MutableMapping[str, Any]],
) -> None:
    with running() as stack:
        stack.desk.ledger.faults.extend([AWAY] * 10_000)
        assert stack.database_answers()
        stack.deliver(1)
        stack.wait_for_faults(10_000 - 2)  # at the second try the first is known
        assert not stack.database_answers()
        assert stack.broker.settled == []
        stack.end_faults()
        stack.broker.wait_for(1)
        assert stack.database_answers()
    assert set(stack.desk.ledger.tokens) == {"1"}
    assert lines_of(log, LogEvent.DATABASE_UNAVAILABLE)[0]["tries"] == 1
    assert len(lines_of(log, LogEvent.DATABASE_BACK)) == 1


def test_a_database_that_takes_a_statement_and_says_nothing_does_not_answer() -> None:
    with running() as stack:
        with stack.desk.book.changed:  # the claim waits for it
            stack.deliver(1)
            end = time.monotonic() + PATIENCE
            while stack.database_answers():
                assert time.monotonic() < end
                stack.desk.clock.advance(1.0)
                time.sleep(0.001)
        stack.broker.wait_for(1)
        assert stack.database_answers()


def test_a_record_waits_for_the_database_and_the_call_is_not_repeated() -> None:
    verifier = HeldVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.deliver(1)
        stack.wait_for_claims(1)
        stack.desk.ledger.faults.extend([AWAY] * 3)
        verifier.gate.set()
        (settlement,) = stack.broker.wait_for(1)
    assert settlement.line["action"] == "completed"
    assert len(verifier.asked) == 1
    assert not stack.desk.ledger.faults


def test_stopping_does_not_wait_for_a_database_that_has_claimed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_retry, "DATABASE_PAUSE", PATIENCE)
    with running() as stack:
        stack.desk.ledger.faults.extend([AWAY] * 10)
        stack.deliver(2)
        stack.wait_for_faults(9)
        assert stack.pipeline.stop(PATIENCE)
        assert stack.broker.settled == []
        assert stack.desk.book.rows == {}


def test_stopping_gives_up_a_record_at_the_end_of_the_grace() -> None:
    verifier = HeldVerifier()
    before = set(threading.enumerate())
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.deliver(1)
        stack.wait_for_claims(1)
        stack.desk.ledger.faults.extend([AWAY] * 10_000)
        verifier.gate.set()
        stack.wait_for_faults(10_000 - 1)
        assert not stack.pipeline.stop(0.05)
        assert stack.broker.settled == []
        assert stack.desk.row("onb-0").state == "working"  # the lease speaks
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_what_nobody_expected_is_reported_without_its_words(
    log: list[MutableMapping[str, Any]],
) -> None:
    with running(Desk(ValueError(f"choked on {ID_CARD}"))) as stack:
        stack.deliver(1)
        assert stack.failed.wait(PATIENCE)
    (line,) = lines_of(log, LogEvent.FAILED)
    assert line["error"] == "ValueError"
    assert any(str(place).startswith("pipeline/flow.py:") for place in line["where"])
    assert ID_CARD not in repr(log)
    assert "choked" not in repr(log)
    assert stack.broker.settled == []
