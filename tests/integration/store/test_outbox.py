"""Unsent events: which are taken, once each, and what they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fakes.messages import ask
from tests.integration.store.conftest import CONFIG
from tests.integration.store.upkeep import ENVELOPE, Rows, finish, locked, race
from worker.contract.result_v1 import result_event
from worker.core.claims import AlreadyDone
from worker.core.outcome import ErrorKind, Failure, FieldProblem, Outcome, Result
from worker.core.request import Mode
from worker.store.ledger import PostgresLedger
from worker.store.outbox import PostgresOutbox

if TYPE_CHECKING:
    from sqlalchemy import Engine


@pytest.fixture
def box(engine: Engine) -> PostgresOutbox:
    """Make the outbox of this mode."""
    return PostgresOutbox(engine, Mode.SANDBOX)


def taken(box: PostgresOutbox, limit: int = 100) -> set[str]:
    return {stored.request_id for stored, _ in box.take(limit)}


def test_an_unsent_event_is_the_one_that_a_replay_sends(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    asked = replace(ask(context='{"applicant":42}', source="web"), envelope=ENVELOPE)
    finish(ledger, asked)
    sql.age(2)
    ((stored, envelope),) = box.take(100)
    (replay,) = ledger.claim([asked], "2")
    assert isinstance(replay, AlreadyDone)
    assert envelope == ENVELOPE
    relayed = result_event(stored, envelope)
    assert relayed == result_event(replay.stored, asked.envelope)
    assert relayed.routing_key == "replies.onboarding"


def test_an_event_of_a_failure_is_made_of_its_row(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    problems = (FieldProblem("personalSpec", "is missing"),)
    refused = Failure(ErrorKind.INVALID_REQUEST, "the request fails the checks", problems)
    finish(ledger, ask(), result=Result(Outcome.REJECTED, failure=refused))
    sql.age(2)
    ((stored, _),) = box.take(100)
    assert stored.result.failure == refused


def test_only_finished_and_unsent_results_of_this_mode_that_are_a_minute_old_are_taken(
    ledger: PostgresLedger, engine: Engine, box: PostgresOutbox, sql: Rows
) -> None:
    live = PostgresLedger(engine, replace(CONFIG, mode=Mode.LIVE))
    finish(live, ask("other-mode"), token="0")
    finish(ledger, ask("old"), ask("sent"))
    ledger.record([], ["sent"])
    ledger.claim([ask("open")], "2")
    sql.age(2)
    finish(ledger, ask("young"), token="3")
    assert taken(box) == {"old"}


def test_a_taken_event_is_left_alone_for_a_minute_and_then_comes_again(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    """The relay that took it may have crashed."""
    finish(ledger, ask())
    sql.age(2)
    assert taken(box) == {"onb-1"}
    assert taken(box) == set()
    let_the_stamps_run_out(sql)
    assert taken(box) == {"onb-1"}


def let_the_stamps_run_out(sql: Rows) -> None:
    sql("UPDATE verification.request SET event_retry_at = now() - interval '1s'")


def test_a_held_event_is_not_taken_and_a_sent_one_never_again(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    finish(ledger, ask("slow"), ask("sent"))
    sql.age(2)
    assert taken(box) == {"slow", "sent"}
    let_the_stamps_run_out(sql)
    box.hold(["slow"])
    box.mark_sent(["sent"])
    assert taken(box) == set()
    let_the_stamps_run_out(sql)
    assert taken(box) == {"slow"}
    assert sql.request("sent")["event_sent_at"] is not None


def test_a_clock_that_was_set_back_holds_no_event(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    finish(ledger, ask())
    sql.age(2)
    assert taken(box) == {"onb-1"}
    sql("UPDATE verification.request SET event_retry_at = event_retry_at + interval '1 hour'")
    assert taken(box) == {"onb-1"}


def test_the_first_mark_of_an_event_stays(
    ledger: PostgresLedger, box: PostgresOutbox, sql: Rows
) -> None:
    finish(ledger, ask())
    box.mark_sent(["onb-1"])
    first = sql.request()["event_sent_at"]
    box.mark_sent(["onb-1"])
    assert sql.request()["event_sent_at"] == first


def test_a_relayed_event_leaves_it_open_whether_its_dead_letter_was_kept(
    ledger: PostgresLedger, box: PostgresOutbox
) -> None:
    """The relay has no message to keep: only what settles the message itself tells."""
    finish(ledger, ask())
    box.mark_sent(["onb-1"])
    (copy,) = ledger.claim([ask()], "2")
    assert isinstance(copy, AlreadyDone)
    assert not copy.stored.announced
    ledger.record([], ["onb-1"])
    (copy,) = ledger.claim([ask()], "3")
    assert isinstance(copy, AlreadyDone)
    assert copy.stored.announced


def test_the_oldest_events_are_taken_first_and_a_locked_row_is_passed_over(
    ledger: PostgresLedger, engine: Engine, box: PostgresOutbox, sql: Rows
) -> None:
    finish(ledger, *[ask(f"onb-{number}") for number in range(4)])
    for number in range(4):
        sql.age(5 - number, f"onb-{number}")
    with locked(engine, "onb-0"):
        assert taken(box, limit=2) == {"onb-1", "onb-2"}
    assert taken(box) == {"onb-0", "onb-3"}


def test_eight_relays_at_once_take_each_event_once(
    ledger: PostgresLedger, database_url: str, sql: Rows
) -> None:
    ids = [f"onb-{number:03d}" for number in range(400)]
    finish(ledger, *[ask(each) for each in ids])
    sql.age(2)
    seen: Counter[str] = Counter()

    def take_all(own: Engine) -> int:
        mine = PostgresOutbox(own, Mode.SANDBOX)
        # An empty answer does not mean that all is taken: others may hold the rest locked.
        while sum(seen.values()) < len(ids):
            for stored, _ in mine.take(20):
                seen[stored.request_id] += 1
        return 0

    race(database_url, take_all)
    assert seen == Counter(ids)
