"""The pause of all workers: it stands until it is lifted, and says which calls it waits for."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from tests.fakes.messages import ask
from tests.integration.store.upkeep import Rows
from worker.store.fleet import PostgresPause
from worker.store.ledger import PostgresLedger


def test_a_pause_stands_until_it_is_lifted_and_keeps_its_beginning(as_worker: Engine) -> None:
    fleet = PostgresPause(as_worker)
    assert fleet.read() is None
    assert fleet.resume() is None
    first = fleet.pause("a test", "one@desk")
    second = fleet.pause("another", "two@desk")
    assert (first.reason, first.by, first.since) == ("a test", "one@desk", second.since)
    assert fleet.read() == second
    assert fleet.resume() == second
    assert fleet.read() is None
    assert fleet.resume() is None
    assert fleet.pause("again", "one@desk").since > second.since


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO verification.fleet_control (single) VALUES (false)",
        "INSERT INTO verification.fleet_control (paused_at) VALUES (now())",
        "INSERT INTO verification.fleet_control VALUES (true), (true)",
    ],
)
def test_there_is_one_row_and_a_pause_is_whole(engine: Engine, statement: str) -> None:
    with engine.connect() as database, pytest.raises(IntegrityError):
        database.execute(text(statement))


def test_calls_are_under_way_until_they_are_recorded_or_their_lease_is_over(
    engine: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    control = PostgresPause(engine)
    ledger.claim([ask("a"), ask("b"), ask("free", wants_call=False)], "1")
    assert control.calls_under_way() == 2
    sql.age(2, "a")
    assert control.calls_under_way() == 1
    sql("UPDATE verification.provider_call SET finished_at = now()")
    assert control.calls_under_way() == 0
