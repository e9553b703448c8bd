"""The pipeline's threads: all that is delivered is settled, and stopping loses nothing paid."""

from threading import Thread

import pytest
from structlog.typing import EventDict

from tests.fakes.broker import PATIENCE
from tests.fakes.messages import ID_CARD, deliver
from tests.unit.pipeline.desk import Desk
from tests.unit.pipeline.stack import SlowVerifier, Stack, running
from worker.core.claims import Postponed, Shortage
from worker.pipeline import database_retry, runner
from worker.ports import LedgerUnavailable
from worker.telemetry.logs import LogEvent

AWAY = LedgerUnavailable("OperationalError")
RETRY_5S = "verification.retry.5s"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_retry, "RETRY_PAUSE", 0.01)
    monkeypatch.setattr(runner, "ANNOUNCE_PAUSE", 0.01)


def ids(count: int) -> list[str]:
    return [f"onb-{number}" for number in range(count)]


def lines_of(log: list[EventDict], event: LogEvent) -> list[EventDict]:
    return [line for line in log if line["event"] == event]


def test_every_delivery_is_settled_once() -> None:
    with running() as stack:
        deliveries = stack.give(*ids(25))
        settled = stack.broker.wait_for(25)
    assert sorted(each.delivery.tag for each in settled) == [each.tag for each in deliveries]
    assert {each.line["action"] for each in settled} == {"completed"}
    assert len(stack.desk.provider.asked) == 25


def test_what_needs_no_call_takes_no_credit() -> None:
    verifier = SlowVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.give("onb-0")
        stack.wait_for_rows(1)
        # The one caller is busy; far more than its two credits go past it.
        for _ in range(20):
            stack.pipeline.deliver(deliver(b"nothing"))
        stack.broker.wait_for(20)
        verifier.answers.set()
        stack.broker.wait_for(21)


def test_no_more_is_claimed_than_callers_can_soon_call() -> None:
    verifier = SlowVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.give(*ids(5))
        stack.wait_for_rows(2)
        verifier.answers.set()
        stack.broker.wait_for(5)


def test_confirmed_events_are_marked_and_each_message_is_one_log_line(log: list[EventDict]) -> None:
    with running() as stack:
        stack.give(*ids(3))
        stack.broker.wait_for(3)
        assert not any(row.announced for row in stack.desk.rows.values())
        assert lines_of(log, LogEvent.SETTLED) == []
        assert stack.broker.confirm(stack.pipeline) == 3
        stack.desk.ledger.wait_until(lambda: all(row.announced for row in stack.desk.rows.values()))
    lines = lines_of(log, LogEvent.SETTLED)
    assert sorted(line["request_id"] for line in lines) == ["onb-0", "onb-1", "onb-2"]
    assert {line["action"] for line in lines} == {"completed"}


def test_a_message_without_an_event_of_a_row_is_logged_and_marks_nothing(
    log: list[EventDict],
) -> None:
    with running() as stack:
        stack.pipeline.deliver(deliver(b"nothing"))
        stack.broker.wait_for(1)
        stack.broker.confirm(stack.pipeline)
    assert [line["reason"] for line in lines_of(log, LogEvent.SETTLED)] == ["not_json"]


def test_marks_that_came_after_the_last_record_are_written_at_the_end() -> None:
    with running() as stack:
        stack.give(*ids(2))
        stack.broker.wait_for(2)
        assert stack.pipeline.stop(PATIENCE)
    stack.broker.confirm(stack.pipeline)
    stack.pipeline.flush_announced()
    assert all(row.announced for row in stack.desk.rows.values())


def test_marks_are_left_to_the_relay_where_the_database_is_away_at_the_end(
    log: list[EventDict],
) -> None:
    with running() as stack:
        stack.give("onb-0")
        stack.broker.wait_for(1)
        assert stack.pipeline.stop(PATIENCE)
    stack.broker.confirm(stack.pipeline)
    stack.desk.ledger.faults.append(AWAY)
    stack.pipeline.flush_announced()
    assert not stack.desk.row("onb-0").announced
    assert len(lines_of(log, LogEvent.DATABASE_UNAVAILABLE)) == 1


def test_stopping_finishes_the_calls_under_way_and_lets_the_rest_go_uncalled() -> None:
    verifier = SlowVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.give(*ids(5))
        stack.wait_for_rows(2)
        assert verifier.begun.wait(PATIENCE)
        clean: list[bool] = []
        stopper = Thread(target=lambda: clean.append(stack.pipeline.stop(PATIENCE)))
        stopper.start()
        stack.thread("claimer").join(PATIENCE)  # the stop has begun: nothing more is claimed
        verifier.answers.set()
        stopper.join(PATIENCE)
        assert clean == [True]
        assert len(stack.broker.settled) == 2
        called, uncalled = stack.desk.rows.values()
        assert (called.state, len(called.calls)) == ("done", 1)
        assert (uncalled.state, uncalled.attempts, uncalled.calls) == ("waiting", 0, [])
        assert stack.where_to()["onb-1"] == RETRY_5S
        assert len(verifier.asked) == 1
        for thread in stack.pipeline._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in stack.pipeline._threads)


def test_stopping_says_when_a_call_outlasts_the_grace() -> None:
    verifier = SlowVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.give("onb-0")
        stack.wait_for_rows(1)
        assert verifier.begun.wait(PATIENCE)  # what has not begun is handed back in time
        assert not stack.pipeline.stop(0.0)
        verifier.answers.set()


def test_a_claim_waits_for_the_database_and_is_then_made_under_its_first_name(
    log: list[EventDict],
) -> None:
    with running() as stack:
        stack.desk.ledger.faults.extend([AWAY] * 10_000)
        assert stack.database_answers()
        stack.give("onb-0")
        stack.wait_for_faults(10_000 - 2)  # at the second try the first is known
        assert not stack.database_answers()
        assert stack.pipeline.database_problem == str(AWAY)
        assert stack.broker.settled == []
        with stack.desk.ledger.changed:
            stack.desk.ledger.faults.clear()
        stack.broker.wait_for(1)
        assert stack.database_answers()
    assert set(stack.desk.ledger.tokens) == {"1"}
    assert lines_of(log, LogEvent.DATABASE_UNAVAILABLE)[0]["tries"] == 1
    assert len(lines_of(log, LogEvent.DATABASE_BACK)) == 1


def test_a_database_that_takes_a_statement_and_says_nothing_does_not_answer() -> None:
    with running() as stack:
        with stack.desk.ledger.changed:  # the claim waits for it
            stack.give("onb-0")
            assert stack.desk.ledger.asked.wait(PATIENCE)
            stack.desk.clock.advance(database_retry.STUCK_AFTER)
            assert stack.database_answers()
            stack.desk.clock.advance(0.1)
            assert not stack.database_answers()
        stack.broker.wait_for(1)
        assert stack.database_answers()


def test_a_record_waits_for_the_database_and_the_call_is_not_repeated() -> None:
    verifier = SlowVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.give("onb-0")
        stack.wait_for_rows(1)
        stack.desk.ledger.faults.extend([AWAY] * 3)
        verifier.answers.set()
        (settlement,) = stack.broker.wait_for(1)
    assert settlement.line["action"] == "completed"
    assert len(verifier.asked) == 1
    assert not stack.desk.ledger.faults


def test_stopping_does_not_wait_for_a_database_that_has_claimed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_retry, "RETRY_PAUSE", PATIENCE)
    with running() as stack:
        stack.desk.ledger.faults.extend([AWAY] * 10)
        stack.give(*ids(2))
        stack.wait_for_faults(9)
        assert stack.pipeline.stop(PATIENCE)
        assert stack.broker.settled == []
        assert stack.desk.rows == {}


def test_stopping_gives_up_a_record_at_the_end_of_the_grace() -> None:
    verifier = SlowVerifier()
    with running(Desk(verifier=verifier), callers=1) as stack:
        stack.give("onb-0")
        stack.wait_for_rows(1)
        stack.desk.ledger.faults.extend([AWAY] * 10_000)
        verifier.answers.set()
        stack.wait_for_faults(10_000 - 1)
        assert not stack.pipeline.stop(0.0)
        assert stack.broker.settled == []
        assert stack.desk.row("onb-0").state == "working"  # the lease speaks
        for thread in stack.pipeline._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_what_nobody_expected_is_reported_without_its_words(log: list[EventDict]) -> None:
    with running(Desk(ValueError(f"choked on {ID_CARD}"))) as stack:
        stack.give("onb-0")
        assert stack.failed.wait(PATIENCE)
    (line,) = lines_of(log, LogEvent.FAILED)
    assert line["error"] == "ValueError"
    assert any(str(place).startswith("pipeline/flow.py:") for place in line["where"])
    assert ID_CARD not in repr(log)
    assert "choked" not in repr(log)
    assert stack.broker.settled == []


def test_levels_follow_a_message_through_the_pipeline() -> None:
    verifier = SlowVerifier()
    stack = Stack(Desk(verifier=verifier), callers=1)
    stack.give(*ids(3))
    stack.pipeline.deliver(deliver(b"nothing"))
    stack.pipeline.start()
    try:
        assert verifier.begun.wait(PATIENCE)
        assert (stack.pipeline.claimed, stack.pipeline.held) == (2, 4)
        assert stack.gate.calls == (1, 1)
        verifier.answers.set()
        stack.broker.wait_for(4)
        assert (stack.pipeline.claimed, stack.pipeline.held) == (0, 4)
        assert stack.gate.calls == (0, 1)
        stack.broker.confirm(stack.pipeline)
        assert stack.pipeline.held == 0
    finally:
        verifier.answers.set()
        stack.pipeline.stop(PATIENCE)


def test_what_the_pipeline_does_is_counted_once_for_a_batch() -> None:
    with running() as stack:
        stack.give("onb-1")
        stack.broker.wait_for(1)
        stack.broker.confirm(stack.pipeline)
    text = stack.metrics.exposition("text/plain")[1].decode()
    for line in (
        "verification_claim_batch_messages_sum 1.0",
        "verification_record_batch_messages_sum 1.0",
        'verification_calls_total{call_class="answered",charged="yes"} 1.0',
        'verification_messages_settled_total{action="completed",outcome="match"} 1.0',
    ):
        assert line in text


def test_a_thread_that_died_is_named_and_one_that_was_stopped_is_not() -> None:
    stack = Stack(Desk(ValueError("words")), callers=1)
    assert stack.pipeline.dead == []
    stack.pipeline.start()
    try:
        assert stack.pipeline.dead == []
        stack.give("onb-1")
        stack.thread("caller-0").join(PATIENCE)
        assert stack.pipeline.dead == ["caller-0"]
    finally:
        stack.pipeline.stop(PATIENCE)
    assert stack.failed.is_set()
    assert stack.pipeline.dead == []


def test_every_stage_is_watched() -> None:
    names = {each.name for each in Stack().pipeline._threads}
    assert names == {"claimer", "recorder", "breaker", "caller-0", "caller-1"}


def test_what_waits_for_a_call_stands_aside_and_is_asked_again_after_a_minute_at_most(
    log: list[EventDict],
) -> None:
    desk = Desk()
    desk.ledger.instead["waits"] = lambda _: Postponed(3_600.0, Shortage.CALLS_PER_MINUTE)
    with running(desk) as stack:
        stack.give("waits")
        desk.ledger.wait_until(lambda: len(desk.ledger.tokens) == 1)
        stack.pipeline.deliver(deliver(b"nothing"))
        stack.give("goes")
        stack.broker.wait_for(2)
        with desk.ledger.changed:
            desk.rows.clear()
            desk.ledger.instead.clear()
        desk.clock.advance(59.9)
        stack.pipeline.deliver(deliver(b"nothing more"))
        stack.broker.wait_for(3)
        assert "waits" not in desk.rows
        desk.clock.advance(0.2)
        stack.pipeline.deliver(deliver(b"nothing again"))
        settled = stack.broker.wait_for(5)
    assert "waits" in {each.delivery.message_id for each in settled}
    assert desk.row("waits").result is not None
    (line,) = lines_of(log, LogEvent.POSTPONED)
    assert (line["reason"], line["messages"]) == (Shortage.CALLS_PER_MINUTE, 1)
