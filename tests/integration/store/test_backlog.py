"""One look at the books says how they stand, and costs the same whatever is in the tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from tests.fakes.messages import ask
from tests.integration.store.upkeep import Rows, finish, leave_waiting
from worker.core.backlog import Backlog
from worker.core.errors import LedgerUnavailable
from worker.core.request import Mode
from worker.store import backlog as backlog_store
from worker.store.backlog import PostgresBacklog
from worker.store.engine import open_engine

if TYPE_CHECKING:
    from worker.store.ledger import PostgresLedger


@pytest.fixture
def sql(engine: Engine) -> Rows:
    """Give the test's rows."""
    return Rows(engine)


@pytest.fixture
def books(engine: Engine) -> PostgresBacklog:
    """Give the books of the sandbox's workers."""
    return PostgresBacklog(engine, Mode.SANDBOX)


def test_empty_books_have_nothing_to_say(books: PostgresBacklog) -> None:
    assert books.read() == Backlog()


def test_unsent_events_are_counted_and_the_oldest_gives_the_age(
    books: PostgresBacklog, ledger: PostgresLedger, sql: Rows
) -> None:
    finish(ledger, ask("old"), ask("new"), ask("sent"))
    ledger.record([], ["sent"])
    sql.age(10, "request_id = 'old'")
    backlog = books.read()
    assert backlog.unsent_events == 2
    assert 600 <= backlog.oldest_unsent < 660
    assert backlog.lapsed_requests == 0


def test_a_request_is_lapsed_when_its_lease_is_over_and_nobody_has_it(
    books: PostgresBacklog, ledger: PostgresLedger, sql: Rows
) -> None:
    ledger.claim([ask("lapsed"), ask("held")], "1")
    leave_waiting(ledger, ask("waiting"))
    sql.age(5, "request_id = 'lapsed'")
    assert books.read() == Backlog(lapsed_requests=1)


def test_each_mode_has_books_of_its_own(engine: Engine, ledger: PostgresLedger, sql: Rows) -> None:
    finish(ledger, ask("done"))
    ledger.claim([ask("lapsed")], "2")
    sql.age(5)
    spend(sql, calls=3)
    assert PostgresBacklog(engine, Mode.LIVE).read() == Backlog()


def spend(sql: Rows, calls: int, days_ago: int = 0) -> None:
    """Let calls have been made on a day of Asia/Shanghai."""
    sql(
        """INSERT INTO verification.call_quota (mode, next_call_at, day, calls_today)
           VALUES ('sandbox', now(), (now() AT TIME ZONE 'Asia/Shanghai')::date - :ago, :calls)""",
        ago=days_ago,
        calls=calls,
    )


@pytest.mark.parametrize(("days_ago", "seen"), [(0, 17), (1, 0)])
def test_calls_of_today_are_counted_by_shanghais_calendar(
    books: PostgresBacklog, sql: Rows, days_ago: int, seen: int
) -> None:
    spend(sql, 17, days_ago)
    assert books.read().calls_today == seen


def test_the_count_ends_at_a_bound_and_the_oldest_come_first(
    books: PostgresBacklog, ledger: PostgresLedger, sql: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_store, "COUNTED_AT_MOST", 2)
    finish(ledger, *(ask(f"done-{number}") for number in range(4)))
    sql.age(10, "request_id = 'done-3'")
    backlog = books.read()
    assert backlog.unsent_events == 2
    assert backlog.oldest_unsent >= 600


def test_the_revision_that_the_worker_expects_is_the_newest_one() -> None:
    migrations = Path(__file__).parents[3] / "migrations"
    scripts = ScriptDirectory(str(migrations))
    assert scripts.get_current_head() == backlog_store.HEAD


@pytest.mark.parametrize(("revision", "behind"), [("0001", True), ("9999", False)])
def test_an_older_schema_is_behind_and_a_newer_one_is_not(
    books: PostgresBacklog, sql: Rows, revision: str, behind: bool
) -> None:
    sql("UPDATE verification.alembic_version SET version_num = :revision", revision=revision)
    assert books.read().schema_behind is behind


@pytest.mark.usefixtures("own_database_url")
def test_a_database_without_any_of_our_tables_is_behind(books: PostgresBacklog, sql: Rows) -> None:
    sql("DROP SCHEMA verification CASCADE")
    assert books.read() == Backlog(schema_behind=True)


def test_a_database_that_does_not_answer_is_said_to_be_away() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/nothing", "standing tests")
    with pytest.raises(LedgerUnavailable):
        PostgresBacklog(engine, Mode.SANDBOX).read()


def test_the_worker_role_may_look(books: PostgresBacklog, engine: Engine) -> None:
    with engine.connect() as database:  # the pool gives the same connection out again
        database.execute(text("SET ROLE verification_worker"))
    assert books.read() == Backlog()


_FILL = """
INSERT INTO verification.request (request_id, fingerprint, source, mode, state, outcome,
  requested_at, completed_at, event_sent_at, lease_until)
SELECT 'onb-' || n, '\\x01', 'web', 'sandbox', CASE n % 1000 WHEN 0 THEN 'working'
         WHEN 1 THEN 'waiting' ELSE 'done' END,
  CASE WHEN n % 1000 > 1 THEN 'match' END, at, CASE WHEN n % 1000 > 1 THEN at END,
  CASE WHEN n % 1000 > 2 THEN at END, CASE WHEN n % 1000 = 0 THEN at END
  FROM generate_series(1, 100000) AS n, LATERAL (SELECT now() - make_interval(mins => n * 5)) t(at)
"""


def test_a_look_reads_no_table_from_end_to_end(books: PostgresBacklog, sql: Rows) -> None:
    sql(_FILL)
    sql("ANALYZE verification.request")
    asked = {"mode": "sandbox", "at_most": backlog_store.COUNTED_AT_MOST}
    lines = [each["QUERY PLAN"] for each in sql(f"EXPLAIN {backlog_store.READ.text}", **asked)]
    plan = "\n".join(lines)
    assert "Seq Scan on request" not in plan, plan
    assert plan.count("Index") >= 2
    backlog = books.read()
    assert (backlog.unsent_events, backlog.lapsed_requests) == (100, 100)
