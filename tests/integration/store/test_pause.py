"""The fleet's control and what `status` asks, on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.fakes.messages import ask
from worker.store import overview
from worker.store.overview import PostgresOverview
from worker.store.pause import PostgresPause

if TYPE_CHECKING:
    from sqlalchemy import Engine, TextClause

    from worker.store.ledger import PostgresLedger


@pytest.fixture
def as_worker(engine: Engine) -> Engine:
    """Give the engine with a connection of the worker's role, which the pool gives out again."""
    with engine.connect() as database:
        database.execute(text("SET ROLE verification_worker"))
    return engine


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
    engine: Engine, ledger: PostgresLedger
) -> None:
    fleet = PostgresPause(engine)
    ledger.claim([ask("a"), ask("b"), ask("free", wants_call=False)], "1")
    assert fleet.calls_under_way() == 2
    with engine.connect() as database:
        database.execute(
            text("""UPDATE verification.request SET lease_until = now() - interval '1 second'
                     WHERE request_id = 'a'""")
        )
        assert fleet.calls_under_way() == 1
        database.execute(text("UPDATE verification.provider_call SET finished_at = now()"))
    assert fleet.calls_under_way() == 0


_FILL = """
INSERT INTO verification.request (request_id, fingerprint, source, check_type, mode, state,
  outcome, requested_at, completed_at, event_sent_at, cleared_at)
SELECT 'onb-' || n, '\\x01', 'default', 2, 'live', 'done', 'match',
  now() - make_interval(mins => n), now() - make_interval(mins => n),
  now() - make_interval(mins => n), CASE WHEN n % 2 = 0 THEN now() END
  FROM generate_series(1, 20000) AS n
"""
_CALLS = """
INSERT INTO verification.provider_call (request_id, call_number, mode, worker, started_at,
  finished_at, class, charged)
SELECT request_id, 1, mode, 'host-1-abc/7', completed_at, completed_at, 'answered', 'yes'
  FROM verification.request
"""


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Fill the tables with what two weeks leave behind."""
    with engine.connect() as database:
        for statement in (_FILL, _CALLS, "ANALYZE verification.request"):
            database.execute(text(statement))
        database.execute(text("ANALYZE verification.provider_call"))
    return engine


@pytest.mark.parametrize(
    "statement",
    [overview.OPEN, overview.UNSENT, overview.OUTCOMES, overview.CALLS, overview.WORKERS],
    ids=["open", "unsent", "outcomes", "calls", "workers"],
)
def test_no_part_of_the_status_reads_a_whole_table(filled: Engine, statement: TextClause) -> None:
    with filled.connect() as database:
        plan = database.execute(
            text(f"EXPLAIN {statement.text}"),
            {"minutes": 5} if ":minutes" in statement.text else {},
        )
        assert "Seq Scan" not in "\n".join(plan.scalars())


def test_the_last_hour_is_counted_whatever_retention_has_done(filled: Engine) -> None:
    view = PostgresOverview(filled)
    with filled.connect() as database:
        database.execute(
            text("""UPDATE verification.request SET event_sent_at = NULL, cleared_at = NULL
                     WHERE request_id = 'onb-7'""")
        )
        minutes = database.execute(
            text("""SELECT count(*) FROM verification.request
                     WHERE completed_at > now() - interval '1 hour'""")
        ).scalar_one()
    assert view.outcomes() == {"match": minutes}
    (calls,) = view.calls()
    assert (calls.call_class, calls.calls, calls.charged, calls.in_doubt) == (
        "answered",
        minutes,
        minutes,
        0,
    )
    assert view.unsent_events().events == 1
    (worker,) = view.workers()
    assert worker.name == "host-1-abc"
    assert worker.calls in (4, 5)


def test_open_requests_are_told_apart_by_their_lease(
    engine: Engine, ledger: PostgresLedger
) -> None:
    view = PostgresOverview(engine)
    ledger.claim([ask("a"), ask("b"), ask("c")], "1")
    with engine.connect() as database:
        database.execute(
            text("""UPDATE verification.request SET lease_until = now() - interval '1 second'
                     WHERE request_id = 'a'""")
        )
        database.execute(
            text("""UPDATE verification.request SET state = 'waiting', lease_until = NULL
                     WHERE request_id = 'b'""")
        )
    found = view.open_requests()
    assert (found.working, found.waiting, found.lapsed) == (1, 1, 1)
    assert found.oldest is not None
    assert [each.name for each in view.workers()] == ["one"]
    (today,) = view.today()
    assert (today.mode, today.calls, today.promised) == ("sandbox", 3, None)
