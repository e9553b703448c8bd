"""What goes wrong with a database comes out as one of two errors, without its words."""

from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import Engine, text

from tests.conftest import END_OTHERS
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH
from tests.integration.store.conftest import ledger_of
from tests.integration.store.upkeep import Rows
from worker.core.claims import Entry, Granted
from worker.core.outcome import AuthInfo, Charged, Complete, Outcome, Result
from worker.ports import LedgerRefused, LedgerUnavailable
from worker.store.engine import POOL_SIZE, connection, execute
from worker.store.ledger import PostgresLedger

CANARY = "canary-in-the-data"


@pytest.mark.parametrize(
    "poison",
    [
        replace(ask("poison"), context=f'{{"{CANARY}":"\\u0000"}}', source="a\x00b"),  # NUL
        replace(ask("poison"), source=None),  # type: ignore[arg-type]  # a column that needs one
        replace(ask("poison"), check_type=7),  # a constraint
        replace(ask("poison"), check_type=70_000),  # a type
    ],
    ids=["nul", "null", "constraint", "range"],
)
def test_data_that_the_database_refuses_is_refused_and_the_batch_is_not_stored(
    ledger: PostgresLedger, sql: Rows, poison: object
) -> None:
    with pytest.raises(LedgerRefused) as refusal:
        ledger.claim([ask("good"), poison], "1")  # type: ignore[list-item]
    assert CANARY not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert sql("SELECT 1 FROM verification.request") == []
    assert isinstance(ledger.claim([ask("good")], "2")[0], Granted)


@pytest.mark.parametrize("words", ["a\x00b", "\ud800"], ids=["nul", "half-a-character"])
def test_an_answer_that_cannot_be_stored_is_refused(ledger: PostgresLedger, words: str) -> None:
    (granted,) = ledger.claim([ask()], "1")
    assert isinstance(granted, Granted)
    info = AuthInfo(success=True, has_exception=False, code="ok", message=words, detail=CANARY)
    result = Result(Outcome.MATCH, Charged.YES, info)
    with pytest.raises(LedgerRefused) as refusal:
        ledger.record([Entry(ask(), granted, MATCH, Complete(result))], [])
    assert CANARY not in str(refusal.value)


def test_a_text_that_cannot_be_encoded_is_refused(ledger: PostgresLedger) -> None:
    with pytest.raises(LedgerRefused, match="encoded"):
        ledger.record([], [f"{CANARY}\ud800"])


def test_a_connection_that_the_server_closed_is_unavailable_once(
    ledger: PostgresLedger, database_url: str
) -> None:
    ledger.claim([ask("before")], "1")
    with psycopg.connect(database_url) as administrator:
        administrator.execute(END_OTHERS)
    with pytest.raises(LedgerUnavailable):
        ledger.claim([ask("after")], "2")
    (claim,) = ledger.claim([ask("after")], "2")
    assert isinstance(claim, Granted)


@pytest.mark.parametrize(
    ("spoil", "sqlstate"),
    [
        ("SET default_transaction_read_only = on", "25006"),  # what a demoted server does to all
        ("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$", "26000"),  # unseen by the driver
    ],
)
def test_a_session_that_is_of_no_use_any_more_is_given_up_and_the_others_with_it(
    engine: Engine, spoil: str, sqlstate: str
) -> None:
    change = text("UPDATE verification.fleet_control SET reason = reason")
    with engine.connect() as one, engine.connect() as other:
        for session in (one, other):
            for _ in range(6):  # psycopg prepares at the fifth time
                session.execute(change)
            session.exec_driver_sql(spoil)
    with pytest.raises(LedgerUnavailable, match=sqlstate):
        execute(engine, change)
    execute(engine, change)
    with engine.connect() as one, engine.connect() as other:
        for session in (one, other):
            session.execute(change)


def test_a_pool_that_is_used_up_is_unavailable(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.pool, "_timeout", 0.01)  # ten seconds otherwise
    with ExitStack() as lent:
        for _ in range(POOL_SIZE):
            lent.enter_context(connection(engine))
        with pytest.raises(LedgerUnavailable, match="no database connection was free"):
            ledger_of(engine).record([], [])
