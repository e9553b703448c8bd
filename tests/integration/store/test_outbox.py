"""Unsent events: which are taken, once each, and what they say."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from tests.fakes.messages import ask
from tests.integration.store.conftest import ledger_of
from tests.integration.store.upkeep import ANSWER, ENVELOPE, Rows, finish, locked
from worker.contract.result_v1 import result_event
from worker.core.claims import AlreadyDone
from worker.core.outcome import ErrorKind, Failure, FieldProblem, Outcome, Result
from worker.core.request import Mode
from worker.store.ledger import PostgresLedger
from worker.store.outbox import PostgresOutbox


@pytest.fixture
def box(engine: Engine) -> PostgresOutbox:
    return PostgresOutbox(engine, Mode.SANDBOX)


def taken(box: PostgresOutbox, limit: int = 100) -> set[str]:
    return {stored.request_id for stored, _ in box.take(limit)}


REFUSED = Failure(
    ErrorKind.INVALID_REQUEST, "it fails the checks", (FieldProblem("personalSpec", "is missing"),)
)


@pytest.mark.parametrize("result", [ANSWER, Result(Outcome.REJECTED, failure=REFUSED)])
def test_an_unsent_event_is_the_one_that_a_replay_sends(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows, result: Result
) -> None:
    asked = replace(ask(context='{"applicant":42}', source="web"), envelope=ENVELOPE)
    finish(ledger, asked, result=result)
    sql.age(2)
    ((stored, envelope),) = box.take(100)
    (replay,) = ledger.claim([asked], "2")
    assert isinstance(replay, AlreadyDone)
    assert envelope == ENVELOPE
    relayed = result_event(stored, envelope)
    assert relayed == result_event(replay.stored, asked.envelope)
    assert relayed.routing_key == "replies.onboarding"


def test_only_finished_and_unsent_results_of_this_mode_that_are_a_minute_old_are_taken(
    ledger: PostgresLedger, engine: Engine, box: PostgresOutbox, sql: Rows
) -> None:
    finish(ledger_of(engine, mode=Mode.LIVE), ask("other-mode"))
    finish(ledger, ask("old"), ask("sent"))
    ledger.record([], ["sent"])
    ledger.claim([ask("open")], "2")
    sql.age(2)
    finish(ledger, ask("young"))
    assert taken(box) == {"old"}


def let_the_stamps_run_out(sql: Rows) -> None:
    sql("UPDATE verification.request SET event_retry_at = now() - interval '1s'")


def test_a_taken_event_is_left_alone_for_a_minute_and_a_sent_one_for_ever(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    """It comes again, for the relay that took it may have crashed."""
    finish(ledger, ask("slow"), ask("sent"))
    sql.age(2)
    assert taken(box) == {"slow", "sent"}
    assert taken(box) == set()
    let_the_stamps_run_out(sql)
    box.hold(["slow"])
    box.mark_sent(["sent"])
    assert taken(box) == set()
    let_the_stamps_run_out(sql)
    assert taken(box) == {"slow"}
    first = sql.request("sent")["event_sent_at"]
    assert first is not None
    box.mark_sent(["sent"])
    assert sql.request("sent")["event_sent_at"] == first


def test_a_clock_that_was_set_back_holds_no_event(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    finish(ledger, ask())
    sql.age(2)
    assert taken(box) == {"onb-1"}
    sql("UPDATE verification.request SET event_retry_at = event_retry_at + interval '1 hour'")
    assert taken(box) == {"onb-1"}
    sql.age(-120)
    let_the_stamps_run_out(sql)
    assert taken(box) == {"onb-1"}


def test_a_relayed_event_leaves_it_open_whether_its_dead_letter_was_kept(
    ledger: PostgresLedger, box: PostgresOutbox
) -> None:
    """The relay has no message to keep: only what settles the message itself tells."""
    finish(ledger, ask())
    box.mark_sent(["onb-1"])
    for announced in (False, True):
        (copy,) = ledger.claim([ask()], "2")
        assert isinstance(copy, AlreadyDone)
        assert copy.stored.announced is announced
        ledger.record([], ["onb-1"])


def test_the_oldest_events_are_taken_first_and_a_locked_row_is_passed_over(
    ledger: PostgresLedger, engine: Engine, box: PostgresOutbox, sql: Rows
) -> None:
    finish(ledger, *[ask(f"onb-{number}") for number in range(4)])
    for number in range(4):
        sql.age(5 - number, f"onb-{number}")
    with locked(engine, "onb-0"):
        assert taken(box, limit=2) == {"onb-1", "onb-2"}
    assert taken(box) == {"onb-0", "onb-3"}
