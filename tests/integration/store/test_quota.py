"""The shared quota in a real database: exact over racing workers, and safe when one breaks off."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from tests.e2e.harness import until
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH
from tests.integration.store.conftest import CONFIG
from tests.integration.store.cutting import broken_before
from tests.integration.store.upkeep import Rows
from worker.core.claims import Claim, Entry, Granted, HeldElsewhere, Postponed, Shortage
from worker.core.outcome import Charged, Complete, Outcome, Result
from worker.core.request import Lane
from worker.ports import LedgerRefused, LedgerUnavailable
from worker.store import ledger as ledger_module
from worker.store.engine import open_engine
from worker.store.ledger import PostgresLedger
from worker.store.quota import Quota
from worker.store.quota_row import lock_quota

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

SHANGHAI = timezone(timedelta(hours=8))
THREADS = 8
SPACING = Quota(600, None, 4.0).spacing.total_seconds()


@pytest.fixture
def second_engine(database_url: str) -> Iterator[Engine]:
    """Open the test's database as another worker does."""
    opened = open_engine(database_url, "another worker")
    yield opened
    opened.dispose()


def limited(engine: Engine, worker: str = "one", **limits: int | None) -> PostgresLedger:
    """Make the ledger of one worker, with limits."""
    return PostgresLedger(engine, replace(CONFIG, worker=worker, **limits))  # type: ignore[arg-type]


def quota_row(engine: Engine) -> Any:
    """Return the sandbox's row: next_call_at, day, calls_today."""
    (row,) = Rows(engine)("SELECT next_call_at, day, calls_today FROM verification.call_quota")
    return tuple(row.values())


def counted(engine: Engine, table: str) -> int:
    """Return how many rows a table has."""
    return len(Rows(engine)(f"SELECT 1 FROM verification.{table}"))  # noqa: S608


def called(claims: list[Claim]) -> int:
    """Return how many were granted a call."""
    return sum(isinstance(each, Granted) and each.call_number is not None for each in claims)


# Races.


def test_two_workers_with_eight_threads_spend_a_budget_to_the_call(
    engine: Engine, second_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hundred requests, some wanted by both workers, and a budget of a hundred."""
    monkeypatch.setattr(ledger_module, "_CONTENDED_TRIES", 0)  # a deadlock is a failure here
    start = Barrier(THREADS)

    def claim_all(thread: int) -> list[Claim]:
        opened = engine if thread % 2 else second_engine
        ledger = limited(opened, f"worker-{thread}", daily_call_budget=100)
        mine = [f"onb-{number}" for number in range(300) if number % 4 == thread // 2]
        start.wait(30)
        return [
            claim
            for first in range(0, len(mine), 10)
            for claim in ledger.claim([ask(each) for each in mine[first : first + 10]], str(first))
        ]

    with ThreadPoolExecutor(THREADS) as threads:
        claims = [claim for each in threads.map(claim_all, range(THREADS)) for claim in each]
    assert called(claims) == 100
    assert all(isinstance(each, Granted | HeldElsewhere | Postponed) for each in claims)
    assert quota_row(engine)[2] == 100
    assert counted(engine, "provider_call") == counted(engine, "request") == 100


def test_the_places_of_two_racing_workers_never_overlap(
    engine: Engine, second_engine: Engine
) -> None:
    """A place lies between what the claim's start and its end say; that is enough to tell."""
    start = Barrier(4)

    def claim_some(thread: int) -> list[tuple[float, float]]:
        opened = engine if thread % 2 else second_engine
        ledger = limited(opened, f"worker-{thread}", calls_per_minute=600)
        places = []
        start.wait(30)
        for number in range(4):
            before = time.monotonic()
            batch = [ask(f"{thread}-{number}-{each}", lane=Lane.BULK) for each in range(2)]
            claims = ledger.claim(batch, str(number))
            after = time.monotonic()
            waits = [each.wait for each in claims if isinstance(each, Granted)]
            places += [(before + wait, after + wait) for wait in waits]
        return places

    with ThreadPoolExecutor(4) as threads:
        places = [place for each in threads.map(claim_some, range(4)) for place in each]
    assert len(places) >= 10  # the first second has ten
    for one, other in combinations(places, 2):  # whichever of them comes first
        assert max(one[1] - other[0], other[1] - one[0]) >= SPACING - 0.001
    first, last = min(place[0] for place in places), max(place[1] for place in places)
    assert last - first >= (len(places) - 1) * SPACING - 0.001


def test_claims_and_records_race_without_a_deadlock(
    engine: Engine, second_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim holds the quota while it waits for requests; a record never wants the quota."""
    monkeypatch.setattr(ledger_module, "_CONTENDED_TRIES", 0)
    ids = [f"onb-{number:03d}" for number in range(200)]
    start = Barrier(4)
    done = Complete(Result(Outcome.MATCH, Charged.YES))

    def work(thread: int) -> int:
        opened = engine if thread % 2 else second_engine
        ledger = limited(opened, f"worker-{thread}", daily_call_budget=150)
        order = ids if thread < 2 else ids[::-1]
        calls = 0
        start.wait(30)
        for first in range(0, len(order), 20):
            batch = [ask(each) for each in order[first : first + 20]]
            grants = [
                (asked, claim)
                for asked, claim in zip(batch, ledger.claim(batch, str(first)), strict=True)
                if isinstance(claim, Granted)
            ]
            ledger.record([Entry(asked, claim, MATCH, done) for asked, claim in grants], order)
            calls += len(grants)
        return calls

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(work, range(4))) == 150


# What breaks off.


class _answer_lost_at_commit:  # noqa: N801  # reads as a condition
    """Let the next commit reach the server and lose the connection before its answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        event.listen(self._engine, "commit", self._lose)

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "commit", self._lose)

    @staticmethod
    def _lose(database: Connection) -> None:
        driver = database.connection.driver_connection
        assert driver is not None
        driver.commit()
        driver.close()


def test_a_claim_whose_commit_was_lost_is_paid_once(engine: Engine) -> None:
    ledger = limited(engine, calls_per_minute=600, daily_call_budget=5)
    batch = [ask(f"onb-{number}") for number in range(8)]
    with _answer_lost_at_commit(engine), pytest.raises(LedgerUnavailable):
        ledger.claim(batch, "7")
    assert quota_row(engine)[2] == 5
    claims = ledger.claim(batch, "7")
    assert [type(each) for each in claims] == [Granted] * 5 + [Postponed] * 3
    assert called(claims) == 5
    assert quota_row(engine)[2] == counted(engine, "provider_call") == 5


def test_a_claim_that_the_database_refuses_spends_nothing(engine: Engine) -> None:
    ledger = limited(engine, calls_per_minute=600, daily_call_budget=5)
    ledger.claim([ask("before")], "1")
    before = quota_row(engine)
    with pytest.raises(LedgerRefused):
        ledger.claim([ask("good"), replace(ask("poison"), check_type=7)], "2")
    assert quota_row(engine) == before
    assert counted(engine, "request") == 1
    assert isinstance(ledger.claim([ask("good")], "3")[0], Granted)


def test_a_claim_that_is_cut_in_half_leaves_nothing_behind(engine: Engine) -> None:
    """The tokens, the claim and the take-over are one transaction."""
    limited(engine, daily_call_budget=5).claim([ask()], "1")
    Rows(engine).lapse()
    two = limited(engine, "two", daily_call_budget=5)
    for statement in (1, 2, 3, 4):
        with broken_before(engine, statement), pytest.raises(LedgerUnavailable):
            two.claim([ask()], "7")
        assert quota_row(engine)[2] == 1
        assert counted(engine, "provider_call") == 1
    (claim,) = two.claim([ask()], "7")
    assert isinstance(claim, Granted)
    assert (claim.grant, claim.call_number, claim.in_doubt_calls) == (2, 2, 1)
    assert quota_row(engine)[2] == 2


def test_a_worker_that_freezes_in_its_claim_holds_the_others_up_for_seconds_alone(
    engine: Engine, second_engine: Engine
) -> None:
    """The server ends its transaction: else one frozen process would stop all workers."""
    frozen = second_engine.execution_options(isolation_level="READ COMMITTED").connect()
    lock_quota(frozen, Quota(None, 5, 4.0), CONFIG.mode)
    assert called(limited(engine, daily_call_budget=5).claim([ask()], "1")) == 1
    with pytest.raises(DBAPIError, match=r"idle.in.transaction"):
        frozen.execute(text("SELECT 1"))
    frozen.close()


def test_the_clock_is_read_when_the_row_is_ours(engine: Engine, second_engine: Engine) -> None:
    """A time from before the wait would give out places that have passed."""
    ledger = limited(engine, calls_per_minute=600)
    ledger.claim([ask("first")], "1")
    Rows(engine)("UPDATE verification.call_quota SET next_call_at = '2026-01-01'")
    transactions = second_engine.execution_options(isolation_level="READ COMMITTED")
    with ThreadPoolExecutor(1) as other, transactions.begin() as holder:
        holder.execute(text("SELECT FROM verification.call_quota FOR UPDATE"))
        claim = other.submit(ledger.claim, [ask("second")], "2")
        until(Rows(engine).waiting_for_locks)
        released_at = holder.execute(text("SELECT clock_timestamp()")).scalar_one()
        holder.commit()
        assert called(claim.result()) == 1
    assert quota_row(engine)[0] >= released_at + timedelta(seconds=SPACING)


def test_a_place_is_no_later_because_the_claim_is_answered_late(engine: Engine) -> None:
    times = iter([100.0, 128.0])
    config = replace(CONFIG, calls_per_minute=600)
    ledger = PostgresLedger(engine, config, now=lambda: next(times))
    claims = ledger.claim([ask(each, lane=Lane.BULK) for each in ("first", "second")], "1")
    waits = [each.wait for each in claims if isinstance(each, Granted)]
    assert waits == pytest.approx([-28.0, -28.0 + SPACING])


# The rows.


def test_limits_leave_no_setting_behind_on_the_connection(engine: Engine) -> None:
    """The pool lends the same connection to claims, records and maintenance."""
    ledger = limited(engine, daily_call_budget=5)
    (granted,) = ledger.claim([ask()], "1")
    assert isinstance(granted, Granted)
    with engine.connect() as database:
        shown = database.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
        driver = database.connection.driver_connection
        assert driver is not None
        assert driver.autocommit
    assert shown == "0"


@pytest.mark.usefixtures("own_database_url")
def test_the_day_of_the_budget_is_that_of_shanghai_and_the_database(engine: Engine) -> None:
    """Whatever zone the connection has."""
    with engine.connect() as database:
        name = database.execute(text("SELECT current_database()")).scalar_one()
        database.execute(text(f'ALTER DATABASE "{name}" SET timezone = "Pacific/Kiritimati"'))
    engine.dispose()
    before = datetime.now(UTC).astimezone(SHANGHAI).date()
    limited(engine, daily_call_budget=5).claim([ask()], "1")
    after = datetime.now(UTC).astimezone(SHANGHAI).date()
    assert quota_row(engine)[1] in (before, after)


def test_without_calls_nothing_is_written(engine: Engine) -> None:
    ledger = limited(engine, daily_call_budget=5)
    ledger.claim([ask("one"), ask("two", wants_call=False)], "1")
    with engine.connect() as database:
        before = database.execute(text("SELECT xmin FROM verification.call_quota")).scalar_one()
        ledger.claim([ask("one"), ask("three", wants_call=False)], "2")
        after = database.execute(text("SELECT xmin FROM verification.call_quota")).scalar_one()
    assert before == after


def test_the_worker_role_may_count_calls(as_worker: Engine) -> None:
    claims = limited(as_worker, daily_call_budget=1).claim([ask("one"), ask("two")], "1")
    assert called(claims) == 1
    assert isinstance(claims[1], Postponed)
    assert claims[1].shortage is Shortage.DAILY_BUDGET
