"""What age and an erasure clear: what goes, what stays, and that nothing is paid again."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from tests.fakes.messages import ask
from tests.integration.store.conftest import ledger_of
from tests.integration.store.upkeep import (
    Rows,
    finish,
    finish_with_everything,
    leave_waiting,
    locked,
)
from worker.core.claims import AlreadyDone, Conflicting, Granted
from worker.core.outcome import Outcome
from worker.core.request import Mode
from worker.store import erasure as erasure_module
from worker.store.engine import connection
from worker.store.erasure import PostgresErasure, PostgresRetention, RequestsOfPerson
from worker.store.ledger import PostgresLedger
from worker.store.rows import as_json, bytea
from worker.store.statements import REKEY

SUBJECT, UNDER_NEW_KEY = b"\x02" * 32, b"\x04" * 32
KEPT = {
    *("request_id", "source", "check_type", "mode", "state", "calls", "charged", "outcome"),
    *("auth_code", "provider_request_id", "error_kind", "requested_at", "completed_at"),
}


@pytest.fixture
def erasure(engine: Engine) -> PostgresErasure:
    return PostgresErasure(engine)


def finish_old(ledger: PostgresLedger, sql: Rows, count: int) -> None:
    """Finish and announce so many requests, an hour ago."""
    ids = [f"onb-{number}" for number in range(count)]
    finish(ledger, *map(ask, ids))
    ledger.record([], ids)
    sql.age(60)


def test_erasing_leaves_the_outcome_and_the_bill_and_nothing_of_the_person(
    ledger: PostgresLedger, erasure: PostgresErasure, sql: Rows
) -> None:
    finish_with_everything(ledger)
    before = sql.request()
    assert erasure.find([SUBJECT]) == RequestsOfPerson(open=0, unsent=0, erasable=1)
    assert erasure.erase([SUBJECT]) == 1
    after = sql.request()
    assert {each: after[each] for each in KEPT} == {each: before[each] for each in KEPT}
    gone = {each for each in after if before[each] is not None and after[each] is None}
    assert gone >= {"subject_digest", "masked_name", "masked_id_card", "context", "digest_key"}
    assert bytes(after["fingerprint"]) == b""
    assert after["cleared_at"] is not None
    assert after["changed_in"] > before["changed_in"], "readers of `changes` learn of it"
    assert sql.calls() != []
    assert erasure.find([SUBJECT]) == RequestsOfPerson(0, 0, 0)
    assert erasure.erase([SUBJECT]) == 0


def test_an_erased_answer_is_not_given_to_another_request(
    engine: Engine, ledger: PostgresLedger, erasure: PostgresErasure
) -> None:
    finish(ledger, ask("first"))
    ledger.record([], ["first"])
    reusing = ledger_of(engine, reuse_seconds=3600.0)
    (before,) = reusing.claim([ask("second")], "2")
    erasure.erase([SUBJECT])
    (after,) = reusing.claim([ask("third")], "3")
    assert isinstance(before, Granted)
    assert isinstance(after, Granted)
    assert before.reuse is not None
    assert after.reuse is None


def test_a_row_that_is_erased_while_its_message_comes_again_stays_erased(
    engine: Engine, ledger: PostgresLedger, erasure: PostgresErasure, sql: Rows
) -> None:
    finish(ledger, ask())
    ledger.record([], ["onb-1"])
    erasure.erase([SUBJECT])
    row: dict[str, object] = {
        "request_id": "onb-1",
        "former": bytea(ask().digest.fingerprint),  # as it was read before the erasure
        "fingerprint": bytea(b"\x03" * 32),
        "subject_digest": bytea(UNDER_NEW_KEY),
        "digest_key": "k2",
    }
    with connection(engine) as database:
        database.execute(REKEY, {"batch": as_json([row])})
    assert bytes(sql.request()["fingerprint"]) == b""
    assert sql.request()["subject_digest"] is None


def test_all_of_the_persons_requests_go_under_every_key_and_in_both_modes(
    engine: Engine, ledger: PostgresLedger, erasure: PostgresErasure
) -> None:
    finish_with_everything(ledger_of(engine, mode=Mode.LIVE), "live")
    finish_with_everything(ledger, "sandbox")
    finish(ledger, ask("rotated", key_id="k2", subject=UNDER_NEW_KEY))
    ledger.record([], ["rotated"])
    assert erasure.erase([UNDER_NEW_KEY, SUBJECT]) == 3


def test_what_is_open_or_not_announced_is_named_and_erased_afterwards(
    ledger: PostgresLedger, erasure: PostgresErasure, sql: Rows
) -> None:
    finish(ledger, ask("unsent"))
    leave_waiting(ledger, ask("open"))
    assert erasure.find([SUBJECT]) == RequestsOfPerson(open=1, unsent=1, erasable=0)
    assert erasure.erase([SUBJECT]) == 0
    assert sql.request("open")["subject_digest"] is not None
    ledger.record([], ["unsent"])
    assert erasure.erase([SUBJECT]) == 1
    finish(ledger, ask("open"))
    ledger.record([], ["open"])
    assert erasure.erase([SUBJECT]) == 1


def test_more_than_a_batch_of_requests_is_erased(
    ledger: PostgresLedger, erasure: PostgresErasure, sql: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_module, "_LIMIT", 10)
    finish_old(ledger, sql, 25)
    assert erasure.erase([SUBJECT]) == 25


# With age.

Chore = Callable[..., int]


@pytest.fixture
def keeper(engine: Engine) -> PostgresRetention:
    return PostgresRetention(engine, Mode.SANDBOX)


@pytest.fixture(params=[PostgresRetention.clear_personal, PostgresRetention.delete])
def treat(request: pytest.FixtureRequest) -> Chore:
    chore: Chore = request.param
    return chore


PERSONAL = {
    *("subject_digest", "masked_name", "masked_id_card", "masked_bankcard", "masked_mobile"),
    *("masked_portrait", "context", "auth_message", "auth_detail", "error_fields", "reply_to"),
    *("correlation_id", "traceparent"),
}


def test_clearing_empties_what_is_about_a_person_and_nothing_else(
    ledger: PostgresLedger, keeper: PostgresRetention, erasure: PostgresErasure, sql: Rows
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
    # Its person is not found, and it is still not paid again.
    assert erasure.find([SUBJECT]) == RequestsOfPerson(0, 0, 0)
    again, other = ledger.claim([ask()], "2")[0], ask(fingerprint=b"\x09" * 32)
    assert isinstance(again, AlreadyDone)
    assert again.stored.result.outcome is Outcome.FAILED
    assert isinstance(ledger.claim([other], "3")[0], Conflicting)


def test_what_is_young_open_unannounced_or_of_the_other_mode_is_kept_whole(
    ledger: PostgresLedger, engine: Engine, keeper: PostgresRetention, sql: Rows, treat: Chore
) -> None:
    finish_with_everything(ledger_of(engine, mode=Mode.LIVE), "other-mode")
    finish_with_everything(ledger, "old")
    finish(ledger, ask("unannounced"))
    ledger.claim([ask("open")], "3")
    sql.age(60)
    finish_with_everything(ledger, "young")
    assert treat(keeper, 1800, 500) == 1
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


def test_retention_is_bounded_and_passes_over_a_locked_row(
    ledger: PostgresLedger, engine: Engine, keeper: PostgresRetention, sql: Rows, treat: Chore
) -> None:
    finish_old(ledger, sql, 6)
    # Of both kinds, so that deleting has to share its bound between them.
    if treat is PostgresRetention.delete:
        assert keeper.clear_personal(1800, 3) == 3
    with locked(engine, "onb-0"):
        assert [treat(keeper, 1800, 4), treat(keeper, 1800, 4)] == [4, 1]
    assert treat(keeper, 1800, 4) == 1
