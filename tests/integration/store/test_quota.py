"""The shared quota in a real database: exact over racing workers, and safe when one breaks off."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import combinations, count
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from tests.e2e.harness import until
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH
from tests.integration.store.conftest import CONFIG, ledger_of
from tests.integration.store.upkeep import Rows, race
from worker.core.claims import Claim, Entry, Granted
from worker.core.outcome import Charged, Complete, Outcome, Result
from worker.core.request import Lane
from worker.ports import LedgerUnavailable
from worker.store import ledger as ledger_module
from worker.store import quota_row as quota_row_module
from worker.store.engine import open_engine
from worker.store.quota import Quota
from worker.store.quota_row import lock_quota

SPACING = Quota(600, None, 4.0).spacing.total_seconds()


def quota_row(engine: Engine) -> Any:
    """Return the sandbox's row: next_call_at, day, calls_today."""
    (row,) = Rows(engine)("SELECT next_call_at, day, calls_today FROM verification.call_quota")
    return tuple(row.values())


def counted(engine: Engine, table: str) -> int:
    return len(Rows(engine)(f"SELECT 1 FROM verification.{table}"))  # noqa: S608


def called(claims: list[Claim]) -> int:
    return sum(isinstance(each, Granted) and each.call_number is not None for each in claims)


# Races.


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let claims stand still for as long as the machine does: the server ends none of them."""
    patient = text(quota_row_module.LOCK_QUOTA.text.replace("'3s'", "'0'"))
    monkeypatch.setattr(quota_row_module, "LOCK_QUOTA", patient)


@pytest.mark.usefixtures("unhurried")
def test_the_places_of_racing_workers_never_overlap(database_url: str) -> None:
    """A place lies between what the claim's start and its end say; that is enough to tell."""

    def claim_some(own: Engine, racer: int) -> list[tuple[float, float]]:
        ledger = ledger_of(own, f"worker-{racer}", calls_per_minute=600)
        places = []
        for number in range(4):
            before = time.monotonic()
            batch = [ask(f"{racer}-{number}-{each}", lane=Lane.BULK) for each in range(2)]
            claims = ledger.claim(batch, str(number))
            after = time.monotonic()
            waits = [each.wait for each in claims if isinstance(each, Granted)]
            places += [(before + wait, after + wait) for wait in waits]
        return places

    places = [place for each in race(database_url, claim_some, 4) for place in each]
    assert len(places) >= 10  # the first second has ten
    for one, other in combinations(places, 2):  # whichever of them comes first
        assert max(one[1] - other[0], other[1] - one[0]) >= SPACING - 0.001
    first, last = min(place[0] for place in places), max(place[1] for place in places)
    assert last - first >= (len(places) - 1) * SPACING - 0.001


@pytest.mark.usefixtures("unhurried")
def test_claims_and_records_race_without_a_deadlock_and_spend_a_budget_to_the_call(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim holds the quota while it waits for requests; a record never wants the quota."""
    monkeypatch.setattr(ledger_module, "_CONTENDED_TRIES", 0)  # a deadlock is a failure here
    ids = [f"onb-{number:03d}" for number in range(200)]
    done = Complete(Result(Outcome.MATCH, Charged.YES))

    def work(own: Engine, racer: int) -> int:
        ledger = ledger_of(own, f"worker-{racer}", daily_call_budget=150)
        order = ids if racer < 2 else ids[::-1]
        calls = 0
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

    assert sum(race(database_url, work, 4)) == 150
    assert quota_row(engine)[2] == 150
    assert counted(engine, "provider_call") == counted(engine, "request") == 150


# What breaks off.


@contextmanager
def broken_before(engine: Engine, statement: int) -> Iterator[None]:
    """Lose the connection before the n-th statement, counted from 1, however it is executed."""
    count = 0
    lent: set[Any] = set()

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, *arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == statement:
                self.connection.close()
            return super().execute(*arguments, **options)

    def watch(driver: Any, *_: object) -> None:
        driver.cursor_factory = Cursor
        lent.add(driver)

    event.listen(engine, "checkout", watch)
    try:
        yield
    finally:
        event.remove(engine, "checkout", watch)
        for driver in lent:
            driver.cursor_factory = psycopg.Cursor


@pytest.mark.parametrize("budget", [None, 5])
@pytest.mark.parametrize("limit", [0, 1])
def test_a_take_over_that_is_cut_in_half_leaves_nothing_behind_and_is_repeated(
    engine: Engine, sql: Rows, budget: int | None, limit: int
) -> None:
    """Tokens, claim and take-over are one decision.

    A repeat that took the row for its own would call without an intent and forget the doubt: a
    second payment that no limit bounds and no ledger shows.
    """
    ledger_of(engine, daily_call_budget=5).claim([ask()], "1")
    sql.lapse()
    two = ledger_of(engine, "two", daily_call_budget=budget, max_in_doubt_calls=limit)
    for statement in count(1):
        try:
            with broken_before(engine, statement):
                (claim,) = two.claim([ask()], "7")
            break
        except LedgerUnavailable:
            assert (quota_row(engine)[2], sql.calls()) == (1, [(1, None, "unknown")])
    assert statement > 2
    assert isinstance(claim, Granted)
    assert (claim.grant, claim.call_number, claim.in_doubt_calls) == (2, 2 if limit else None, 1)
    assert [each.call_class for each in sql.calls()] == ["in_doubt", None][: 1 + limit]
    assert quota_row(engine)[2] == (2 if budget and limit else 1)


def test_a_worker_that_freezes_in_its_claim_holds_the_others_up_for_seconds_alone(
    engine: Engine, database_url: str
) -> None:
    """The server ends its transaction: else one frozen process would stop all workers."""
    workers = open_engine(database_url, "freezes")
    frozen = workers.execution_options(isolation_level="READ COMMITTED").connect()
    lock_quota(frozen, Quota(None, 5, 4.0), CONFIG.mode)
    assert called(ledger_of(engine, daily_call_budget=5).claim([ask()], "1")) == 1
    with pytest.raises(DBAPIError, match=r"idle.in.transaction"):
        frozen.execute(text("SELECT 1"))
    frozen.close()
    workers.dispose()


def test_the_clock_is_read_when_the_row_is_ours(engine: Engine, sql: Rows) -> None:
    """A time from before the wait would give out places that have passed."""
    ledger = ledger_of(engine, calls_per_minute=600)
    ledger.claim([ask("first")], "1")
    sql("UPDATE verification.call_quota SET next_call_at = '2026-01-01'")
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    with ThreadPoolExecutor(1) as other, transactions.begin() as holder:
        holder.execute(text("SELECT FROM verification.call_quota FOR UPDATE"))
        claim = other.submit(ledger.claim, [ask("second")], "2")
        until(sql.waiting_for_locks)
        released_at = holder.execute(text("SELECT clock_timestamp()")).scalar_one()
        holder.commit()
        assert called(claim.result()) == 1
    assert quota_row(engine)[0] >= released_at + timedelta(seconds=SPACING)


def test_a_place_is_no_later_because_the_claim_is_answered_late(engine: Engine) -> None:
    times = iter([100.0, 128.0])
    ledger = ledger_of(engine, now=lambda: next(times), calls_per_minute=600)
    claims = ledger.claim([ask(each, lane=Lane.BULK) for each in ("first", "second")], "1")
    waits = [each.wait for each in claims if isinstance(each, Granted)]
    assert waits == pytest.approx([-28.0, -28.0 + SPACING])


# The rows.


def test_limits_leave_no_setting_behind_on_the_connection(engine: Engine, sql: Rows) -> None:
    """The pool lends the same connection to claims, records and maintenance."""
    ledger_of(engine, daily_call_budget=5).claim([ask()], "1")
    assert [*sql("SHOW idle_in_transaction_session_timeout")[0].values()] == ["0"]


def test_without_calls_nothing_is_written(engine: Engine, sql: Rows) -> None:
    ledger = ledger_of(engine, daily_call_budget=5)
    ledger.claim([ask("one"), ask("two", wants_call=False)], "1")
    before = sql("SELECT xmin FROM verification.call_quota")
    ledger.claim([ask("one"), ask("three", wants_call=False)], "2")
    assert sql("SELECT xmin FROM verification.call_quota") == before
