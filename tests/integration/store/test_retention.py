"""Retention: what goes, what stays, and that no request is paid again by mistake."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fakes.messages import ask
from tests.integration.store.conftest import CONFIG
from tests.integration.store.upkeep import (
    Rows,
    finish,
    finish_with_everything,
    leave_waiting,
    locked,
    race,
)
from worker.core.claims import AlreadyDone, Conflicting, Granted
from worker.core.outcome import Outcome
from worker.core.request import Mode
from worker.store.erasure import PostgresRetention
from worker.store.ledger import PostgresLedger

if TYPE_CHECKING:
    from sqlalchemy import Engine


@pytest.fixture
def keeper(engine: Engine) -> PostgresRetention:
    """Make the retention of this mode."""
    return PostgresRetention(engine, Mode.SANDBOX)


PERSONAL = {
    *("subject_digest", "masked_name", "masked_id_card", "masked_bankcard", "masked_mobile"),
    *("masked_portrait", "context", "auth_message", "auth_detail", "error_fields", "reply_to"),
    *("correlation_id", "traceparent"),
}


def test_clearing_empties_what_is_about_a_person_and_nothing_else(
    ledger: PostgresLedger, keeper: PostgresRetention, sql: Rows
) -> None:
    finish_with_everything(ledger)
    sql.age(60)
    before = sql.request()
    assert {each for each in PERSONAL if before[each] is None} == set()
    assert keeper.clear_personal(1800, 500) == 1
    after = sql.request()
    changed = {each for each in after if after[each] != before[each]}
    assert changed == {*PERSONAL, "cleared_at", "changed_in"}
    assert {each for each in PERSONAL if after[each] is not None} == set()
    assert keeper.clear_personal(1800, 500) == 0


def test_a_cleared_request_is_still_not_paid_again(
    ledger: PostgresLedger, keeper: PostgresRetention, sql: Rows
) -> None:
    finish_with_everything(ledger)
    sql.age(60)
    keeper.clear_personal(1800, 500)
    again, other = ledger.claim([ask()], "2")[0], ask(fingerprint=b"\x09" * 32)
    assert isinstance(again, AlreadyDone)
    assert again.stored.result.outcome is Outcome.FAILED
    assert isinstance(ledger.claim([other], "3")[0], Conflicting)


@pytest.mark.parametrize("what", ["clear_personal", "delete"])
def test_what_is_young_open_unannounced_or_of_the_other_mode_is_kept_whole(
    ledger: PostgresLedger, engine: Engine, keeper: PostgresRetention, sql: Rows, what: str
) -> None:
    live = PostgresLedger(engine, replace(CONFIG, mode=Mode.LIVE))
    finish_with_everything(live, "other-mode")
    finish_with_everything(ledger, "old")
    finish(ledger, ask("unannounced"), token="2")
    ledger.claim([ask("open")], "3")
    sql.age(60)
    finish_with_everything(ledger, "young")
    work = keeper.clear_personal if what == "clear_personal" else keeper.delete
    assert work(1800, 500) == 1
    whole = sql("SELECT request_id FROM verification.request WHERE subject_digest IS NOT NULL")
    assert {each["request_id"] for each in whole} == {
        *("other-mode", "unannounced", "open", "young")
    }


@pytest.mark.parametrize("cleared", [True, False], ids=["cleared", "whole"])
def test_a_deleted_request_goes_with_its_calls_and_its_id_is_new_again(
    ledger: PostgresLedger, keeper: PostgresRetention, sql: Rows, cleared: bool
) -> None:
    finish_with_everything(ledger, "old")
    finish_with_everything(ledger, "older")
    leave_waiting(ledger, ask("open"))
    sql.age(60)
    if cleared:
        assert keeper.clear_personal(1800, 500) == 2
    assert keeper.delete(1800, 500) == 2
    for table in ("request", "provider_call"):
        left = sql(f"SELECT request_id FROM verification.{table}")  # noqa: S608
        assert left == [{"request_id": "open"}]
    (claim,) = ledger.claim([ask("old")], "2")
    assert isinstance(claim, Granted)
    assert (claim.grant, claim.call_number) == (1, 1)


@pytest.mark.parametrize("what", ["clear_personal", "delete"])
def test_retention_is_bounded_and_passes_over_a_locked_row(
    ledger: PostgresLedger, engine: Engine, keeper: PostgresRetention, sql: Rows, what: str
) -> None:
    ids = [f"onb-{number}" for number in range(6)]
    finish(ledger, *[ask(each) for each in ids])
    ledger.record([], ids)
    sql.age(60)
    # Of both kinds, so that deleting has to share its bound between them.
    if what == "delete":
        assert keeper.clear_personal(1800, 3) == 3
    work = keeper.clear_personal if what == "clear_personal" else keeper.delete
    with locked(engine, "onb-0"):
        assert [work(1800, 4), work(1800, 4)] == [4, 1]
    assert work(1800, 4) == 1


@pytest.mark.parametrize("what", ["clear_personal", "delete"])
def test_eight_housekeepers_at_once_treat_each_request_once(
    ledger: PostgresLedger, database_url: str, sql: Rows, what: str
) -> None:
    ids = [f"onb-{number:03d}" for number in range(400)]
    finish(ledger, *[ask(each) for each in ids])
    ledger.record([], ids)
    sql.age(60)

    def work(own: Engine) -> int:
        mine = PostgresRetention(own, Mode.SANDBOX)
        one = mine.clear_personal if what == "clear_personal" else mine.delete
        return sum(one(1800, 20) for _ in range(25))

    assert sum(race(database_url, work)) == len(ids)
