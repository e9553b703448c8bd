"""What people and roles find in the database."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from migrations.tables import metadata
from tests.conftest import alembic
from tests.fakes.clock import FakeClock
from tests.fakes.messages import ask, deliver
from tests.fakes.verifier import FakeVerifier
from tests.integration.store.conftest import ledger_of
from tests.integration.store.upkeep import Rows, finish, leave_waiting, past
from worker.contract.request_v1 import RequestReader
from worker.core.checks import CheckPolicy
from worker.core.digests import Digests
from worker.core.outcome import ErrorKind
from worker.core.request import Mode
from worker.core.retry import RetryPolicy
from worker.pipeline.flow import Flow, FlowRules
from worker.store.backlog import PostgresBacklog
from worker.store.erasure import PostgresRetention
from worker.store.fleet import count_turned_away
from worker.store.leases import PostgresLeases
from worker.store.ledger import PostgresLedger
from worker.store.outbox import PostgresOutbox
from worker.store.overview import HEAD

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_migrations_say_what_the_tables_say_and_are_made_once(database_url: str) -> None:
    assert "No new upgrade operations detected" in alembic(database_url, "check")
    assert "Running upgrade" not in alembic(database_url, "upgrade", "head")


def test_the_migrations_store_rows_as_the_tables_say(engine: Engine) -> None:
    """Alembic compares no storage parameters."""
    with engine.connect() as database:
        rows = database.execute(
            text("""SELECT relname, coalesce(reloptions, '{}') AS options FROM pg_class
                WHERE relnamespace = 'verification'::regnamespace AND relkind = 'r'""")
        ).all()
    stored = {row.relname: dict(each.split("=") for each in row.options) for row in rows}
    said = {
        table.name: dict(table.dialect_options["postgresql"]["with"] or {})
        for table in metadata.tables.values()
    }
    assert {name: stored[name] for name in said} == said


def test_the_revision_that_the_worker_expects_is_the_newest_one() -> None:
    assert ScriptDirectory(str(CHECKOUT / "migrations")).get_current_head() == HEAD


@pytest.mark.usefixtures("own_database_url")
def test_the_schema_can_be_taken_down_and_put_up_again(database_url: str, engine: Engine) -> None:
    alembic(database_url, "downgrade", "base")
    with engine.connect() as database:
        left = database.execute(
            text("""SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
                WHERE nspname LIKE 'verification%' AND relname NOT LIKE 'alembic_version%'""")
        ).all()
    assert left == []
    assert "Running upgrade" in alembic(database_url, "upgrade", "head")
    assert "No new upgrade operations detected" in alembic(database_url, "check")
    with engine.connect() as database:
        database.execute(text("SET ROLE verification_reader"))
        database.execute(text("SELECT * FROM verification_v1.results"))
        database.execute(text("RESET ROLE"))


def test_the_worker_role_may_do_its_work(as_worker: Engine) -> None:
    ledger = ledger_of(as_worker, daily_call_budget=9, reuse_seconds=60.0)
    flow = flow_over(ledger, FakeVerifier())
    (task,) = flow.admit([deliver()], "1").tasks
    (settlement,) = flow.record([flow.decide(task, flow.call(task))], [])
    assert settlement.line["outcome"] == "match"


def test_the_worker_role_may_do_every_chore(
    as_worker: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    finish(ledger, ask())
    leave_waiting(ledger, ask("lost", expires_at=past(6)))
    sql.age(60)
    box = PostgresOutbox(as_worker, Mode.SANDBOX)
    settler = PostgresLeases(as_worker, Mode.SANDBOX, max_in_doubt_calls=1, abandon_after=None)
    keeper = PostgresRetention(as_worker, Mode.SANDBOX)
    assert PostgresBacklog(as_worker, Mode.SANDBOX).read().unsent_events == 1
    assert [stored.request_id for stored, _ in box.take(100)] == ["onb-1"]
    box.hold(["onb-1"])
    box.mark_sent(["onb-1"])
    assert settler.settle_lapsed(100) == [ErrorKind.EXPIRED]
    assert keeper.clear_personal(1800, 500) == 1
    assert keeper.delete(1800, 500) == 1
    count_turned_away(as_worker, Mode.SANDBOX, {(None, "not_json"): 1})


def flow_over(ledger: PostgresLedger, verifier: FakeVerifier) -> Flow:
    """Return a flow from messages to this ledger."""
    return Flow(
        RequestReader(CheckPolicy(), 1_000_000),
        Digests(b"k" * 32),
        ledger,
        verifier,
        FakeClock(),
        FlowRules(Mode.SANDBOX, RetryPolicy((5, 30), 1), start_within=60.0),
    )
