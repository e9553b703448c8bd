"""What a claim has committed lasts, however little the database's own settings promise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg
import pytest
from sqlalchemy import text

from local_database import Database
from tests.conftest import migrate
from tests.e2e.harness import Stack, request, until
from tests.fakes.messages import ask
from tests.integration.store.conftest import CONFIG
from worker.store.engine import execute, open_engine
from worker.store.ledger import PostgresLedger

# Commits that nobody waits for are written after at most thrice this long.
WEAK = {"synchronous_commit": "off", "wal_writer_delay": "10s"}


@pytest.fixture
def weak_database(own_servers: None) -> Iterator[Database]:
    """Run a server that writes to disk, but answers a commit before."""
    with Database(WEAK) as running:
        migrate(running.create_database("weak"))
        yield running


def test_when_the_database_is_killed_right_after_the_claims_then_every_intent_is_there(
    weak_database: Database,
) -> None:
    url = weak_database.url.removesuffix("postgres") + "weak"
    engine = open_engine(url, "durability")
    ledger = PostgresLedger(engine, CONFIG)
    ids = [f"onb-{number}" for number in range(8)]
    for each in ids:
        ledger.claim([ask(each)], each)
    weak_database.kill()
    engine.dispose()
    weak_database.start()
    kept = execute(engine, text("SELECT request_id FROM verification.provider_call ORDER BY 1"))
    engine.dispose()
    assert [row.request_id for row in kept] == ids


def commit_as(url: str, value: str) -> None:
    """Set what a commit in this database waits for."""
    with psycopg.connect(url, autocommit=True) as database:
        name = database.info.dbname
        database.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = {value}'.encode())


@pytest.mark.parametrize("value", ["off", "local", "remote_write", "on", "remote_apply"])
def test_a_session_is_never_weaker_than_on_and_never_made_weaker(
    own_database_url: str, value: str
) -> None:
    commit_as(own_database_url, value)
    pinned = "remote_apply" if value == "remote_apply" else "on"
    told: list[Mapping[str, str]] = []
    engine = open_engine(own_database_url, "durability", on_weak=told.append)
    ((here,),) = execute(engine, text("SHOW synchronous_commit"))
    engine.dispose()
    assert here == pinned
    weak = told[0] if told else {}  # of a server that writes to memory there is more to tell
    assert weak.get("synchronous_commit") == (value if value != pinned else None)


@pytest.mark.usefixtures("own_database_url")
def test_a_worker_says_once_what_weakens_the_promise(stack: Stack) -> None:
    commit_as(stack.database_url, "off")
    worker = stack.start_worker()
    stack.publish(request("onb-1"))
    until(lambda: stack.count() == 1)
    assert worker.stop() == 0
    (line,) = worker.logged("database.not_durable")
    assert (line["level"], line["synchronous_commit"]) == ("warning", "off")
