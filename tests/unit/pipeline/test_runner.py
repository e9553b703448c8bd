"""The pipeline's threads: all that is delivered is settled, and stopping loses nothing paid."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.typing import EventDict

from tests.fakes.broker import PATIENCE
from tests.fakes.messages import ID_CARD, deliver, request
from tests.unit.pipeline.desk import Desk, after
from tests.unit.pipeline.stack import AWAY, Stack, calling
from worker.core.claims import Postponed, Shortage
from worker.pipeline import database_retry, runner
from worker.telemetry.logs import LogEvent

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
    late = deliver(request("late", expiresAt=after(0)))  # no call is made
    with Stack() as stack:
        deliveries = [*stack.give(*ids(25)), late]
        stack.pipeline.deliver(late)
        settled = stack.broker.wait_for(26)
    assert sorted(each.delivery.tag for each in settled) == sorted(each.tag for each in deliveries)
    assert {each.line["action"] for each in settled} == {"completed"}
    assert len(stack.provider.asked) == 25


def test_what_needs_no_call_takes_no_credit() -> None:
    with calling("onb-0") as stack:
        # The one caller is busy; far more than its two credits go past it.
        for _ in range(20):
            stack.pipeline.deliver(deliver(b"nothing"))
        stack.broker.wait_for(20)


def test_confirmed_events_are_marked_and_each_message_is_counted_and_one_log_line(
    log: list[EventDict],
) -> None:
    with Stack() as stack:
        stack.give(*ids(3))
        stack.pipeline.deliver(deliver(b"nothing"))
        stack.broker.wait_for(4)
        assert not any(row.announced for row in stack.desk.rows.values())
        assert lines_of(log, LogEvent.SETTLED) == []
        assert stack.broker.confirm(stack.pipeline) == 4
        stack.ledger.wait_until(lambda: all(row.announced for row in stack.desk.rows.values()))
    lines = lines_of(log, LogEvent.SETTLED)
    told = sorted((line["action"], line.get("request_id") or line["reason"]) for line in lines)
    assert told == [*(("completed", each) for each in ids(3)), ("dead_lettered", "not_json")]
    text = stack.metrics.exposition("text/plain")[1].decode()
    for line in (
        "verification_claim_batch_messages_sum 4.0",
        "verification_record_batch_messages_sum 3.0",
        'verification_calls_total{call_class="answered",charged="yes"} 3.0',
        'verification_messages_settled_total{action="completed",outcome="match"} 3.0',
    ):
        assert line in text


@pytest.mark.parametrize("away", [False, True])
def test_the_last_marks_are_written_at_the_end_or_left_to_the_relay(
    away: bool, log: list[EventDict]
) -> None:
    with Stack() as stack:
        stack.give(*ids(2))
        stack.broker.wait_for(2)
    stack.broker.confirm(stack.pipeline)
    stack.ledger.faults.extend([AWAY] * away)
    stack.pipeline.flush_announced()
    assert {row.announced for row in stack.desk.rows.values()} == {not away}
    assert len(lines_of(log, LogEvent.DATABASE_UNAVAILABLE)) == away


def test_stopping_finishes_the_calls_under_way_and_lets_the_rest_go_uncalled() -> None:
    with calling(*ids(5)) as stack, ThreadPoolExecutor(1) as threads:
        clean = threads.submit(stack.stop)
        stack.join("claimer")  # the stop has begun: nothing more is claimed
        stack.provider.answers.set()
        assert clean.result(PATIENCE)
        assert len(stack.broker.settled) == 2
        called, uncalled = stack.desk.rows.values()
        assert (called.state, len(called.calls)) == ("done", 1)
        assert (uncalled.state, uncalled.attempts, uncalled.calls) == ("waiting", 0, [])
        assert stack.where_to()["onb-1"] == RETRY_5S
        assert len(stack.provider.asked) == 1


def test_stopping_says_when_a_call_outlasts_the_grace() -> None:
    with calling("onb-0") as stack:  # what has not begun is handed back in time
        assert not stack.pipeline.stop(0.0)


def test_a_claim_waits_for_the_database_and_is_then_made_under_its_first_name(
    log: list[EventDict],
) -> None:
    with Stack() as stack:
        stack.lose_database()
        assert stack.database_answers()
        stack.give("onb-0")
        stack.wait_for_tries(2)  # at the second try the first is known
        assert not stack.database_answers()
        assert stack.pipeline.database_problem == str(AWAY)
        assert stack.broker.settled == []
        stack.restore_database()
        stack.broker.wait_for(1)
        assert stack.database_answers()
    assert set(stack.ledger.tokens) == {"1"}
    assert lines_of(log, LogEvent.DATABASE_UNAVAILABLE)[0]["tries"] == 1
    assert len(lines_of(log, LogEvent.DATABASE_BACK)) == 1


def test_a_database_that_takes_a_statement_and_says_nothing_does_not_answer() -> None:
    with Stack() as stack:
        with stack.ledger.changed:  # the claim waits for it
            stack.give("onb-0")
            assert stack.ledger.asked.wait(PATIENCE)
            stack.desk.clock.advance(database_retry.STUCK_AFTER)
            assert stack.database_answers()
            stack.desk.clock.advance(0.1)
            assert not stack.database_answers()
        stack.broker.wait_for(1)
        assert stack.database_answers()


def test_a_record_waits_for_the_database_and_the_call_is_not_repeated() -> None:
    with calling("onb-0") as stack:
        stack.ledger.faults.extend([AWAY] * 3)
        stack.provider.answers.set()
        (settlement,) = stack.broker.wait_for(1)
    assert settlement.line["action"] == "completed"
    assert len(stack.provider.asked) == 1
    assert not stack.ledger.faults


def test_stopping_does_not_wait_for_a_database_that_has_claimed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_retry, "RETRY_PAUSE", 3_600.0)
    with Stack() as stack:
        stack.lose_database()
        stack.give(*ids(2))
        stack.wait_for_tries(1)
        assert stack.stop()
        assert stack.broker.settled == []
        assert stack.desk.rows == {}


def test_stopping_gives_up_a_record_at_the_end_of_the_grace() -> None:
    with calling("onb-0") as stack:
        stack.lose_database()
        stack.provider.answers.set()
        stack.wait_for_tries(1)
        assert not stack.pipeline.stop(0.0)
        assert stack.broker.settled == []
        assert stack.desk.row("onb-0").state == "working"  # the lease speaks


def test_what_nobody_expected_is_reported_without_its_words_and_its_thread_is_named(
    log: list[EventDict],
) -> None:
    stack = Stack(Desk(ValueError(f"choked on {ID_CARD}")), callers=1)
    assert stack.pipeline.dead == []
    with stack:
        assert stack.pipeline.dead == []
        stack.give("onb-0")
        stack.join("caller-0")
        assert stack.pipeline.dead == ["caller-0"]
        assert stack.failed.is_set()
    assert stack.pipeline.dead == []  # who was stopped is not dead
    (line,) = lines_of(log, LogEvent.FAILED)
    assert line["error"] == "ValueError"
    assert any(str(place).startswith("pipeline/flow.py:") for place in line["where"])
    assert ID_CARD not in repr(log)
    assert "choked" not in repr(log)
    assert stack.broker.settled == []


def test_levels_follow_a_message_through_the_pipeline() -> None:
    with calling(*ids(3)) as stack:
        stack.pipeline.deliver(deliver(b"nothing"))
        assert (stack.pipeline.claimed, stack.pipeline.held) == (2, 4)
        assert stack.gate.calls == (1, 1)
        stack.provider.answers.set()
        stack.broker.wait_for(4)
        assert (stack.pipeline.claimed, stack.pipeline.held) == (0, 4)
        assert stack.gate.calls == (0, 1)
        stack.broker.confirm(stack.pipeline)
        assert stack.pipeline.held == 0


def test_every_stage_is_watched() -> None:
    names = {each.name for each in Stack().pipeline._threads}
    assert names == {"claimer", "recorder", "breaker", "caller-0", "caller-1"}


def test_what_waits_for_a_call_stands_aside_and_is_asked_again_after_a_minute_at_most(
    log: list[EventDict],
) -> None:
    desk = Desk()
    desk.ledger.instead["waits"] = lambda _: Postponed(3_600.0, Shortage.CALLS_PER_MINUTE)
    with Stack(desk) as stack:
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
