"""Incremental reading: each change is seen once, whoever commits first."""

import psycopg
import pytest
from sqlalchemy import Engine

from tests.conftest import alembic
from tests.fakes.messages import ask
from tests.integration.store.upkeep import Rows, finish
from tests.sql.published import blocks, literal
from worker.core.request import Mode
from worker.store.erasure import PostgresRetention
from worker.store.leases import PostgresLeases
from worker.store.ledger import PostgresLedger

_OPEN = """
INSERT INTO verification.request (request_id, fingerprint, source, mode, state)
SELECT id, '\\x01', 'x', 'sandbox', 'waiting' FROM unnest(%s::text[]) AS id
"""
_FINISH = """
UPDATE verification.request SET state = 'done', outcome = 'match', completed_at = now()
 WHERE request_id = %s
"""


class Copy:
    """A reader with a cursor, asking as the guide says."""

    def __init__(self, reader: psycopg.Connection, pages: int = 1000, since: int = -1) -> None:
        self._reader = reader
        (query,) = blocks("Reading what is new")
        self._query = query.replace("4711", "%s").replace("1000", str(pages))
        self.cursor = since

    def read(self) -> list[str]:
        """Return the requests of the next page and move the cursor behind it."""
        found = self._reader.execute(literal(self._query.strip(" ;\n")), [self.cursor]).fetchall()
        if found:
            self.cursor = found[-1][0]
        return [row[1] for row in found]


@pytest.mark.parametrize("commits", [True, False])
def test_a_transaction_that_began_first_and_ends_last_is_not_skipped(
    owner: psycopg.Connection, reader: psycopg.Connection, database_url: str, commits: bool
) -> None:
    owner.execute(_OPEN, [["early", "late"]])
    copy = Copy(reader)
    with psycopg.connect(database_url) as early:
        early.execute(_FINISH, ["early"])
        owner.execute(_FINISH, ["late"])
        seen = reader.execute("SELECT request_id FROM verification_v1.results").fetchall()
        assert seen == [("late",)]
        assert copy.read() == []
        early.commit() if commits else early.rollback()
    assert copy.read() == (["early", "late"] if commits else ["late"])
    assert copy.read() == []


def test_a_page_ends_with_a_whole_transaction(
    ledger: PostgresLedger, reader: psycopg.Connection
) -> None:
    for batch in range(3):
        finish(ledger, *(ask(f"{batch}-{n}") for n in range(5)))
    copy = Copy(reader, pages=2)
    pages = [sorted(copy.read()) for _ in range(4)]
    assert pages == [*([f"{batch}-{n}" for n in range(5)] for batch in range(3)), []]


def test_a_result_is_seen_for_its_outcome_and_again_when_it_is_cleared(
    ledger: PostgresLedger, engine: Engine, reader: psycopg.Connection
) -> None:
    copy = Copy(reader)
    ledger.claim([ask("onb-1")], "1")
    assert copy.read() == []
    finish(ledger, ask("onb-2"))
    assert copy.read() == ["onb-2"]
    ledger.record([], ["onb-2"])
    assert copy.read() == [], "that the event was sent is no change"
    assert PostgresRetention(engine, Mode.SANDBOX).clear_personal(-60, 10) == 1
    assert copy.read() == ["onb-2"]
    (row,) = reader.execute(
        "SELECT cleared_at IS NOT NULL, masked_name FROM verification_v1.results"
    ).fetchall()
    assert row == (True, None)
    Rows(engine).age(60 * 24 * 60, "onb-1")
    leases = PostgresLeases(engine, Mode.SANDBOX, max_in_doubt_calls=0, abandon_after=86_400.0)
    assert leases.settle_lapsed(10) != []
    assert copy.read() == ["onb-1"], "what a lapsed lease finishes"


@pytest.mark.usefixtures("own_database_url")
def test_what_was_finished_before_the_migration_comes_first_and_at_once(
    ledger: PostgresLedger, reader: psycopg.Connection, owner: psycopg.Connection, database_url: str
) -> None:
    alembic(database_url, "downgrade", "0005")
    owner.execute(_OPEN, [["old-1", "old-2"]])
    for request_id in ("old-1", "old-2"):
        owner.execute(_FINISH, [request_id])
    alembic(database_url, "upgrade", "head")
    finish(ledger, ask("new"))
    copy = Copy(reader, pages=1)
    assert [sorted(copy.read()) for _ in range(3)] == [["old-1", "old-2"], ["new"], []]
