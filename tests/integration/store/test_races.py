"""Many workers want the same requests: each goes to one, and nobody waits for ever."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, event, text

from tests.e2e.harness import until
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH
from tests.integration.store.conftest import ledger_of
from tests.integration.store.upkeep import Rows, finish, patient_engine, race
from worker.core.claims import Entry, FencedOut, Granted, HeldElsewhere
from worker.core.outcome import Charged, Complete, Outcome, Result
from worker.store import ledger as ledger_module
from worker.store.ledger import PostgresLedger

IDS = [f"onb-{number:04d}" for number in range(400)]
BATCH = 50


def claim_all(database_url: str, *, lapsed: bool = False) -> list[Granted]:
    """Let eight workers claim all ids, each in an order of its own; return what all were granted.

    Raises what any of them raises: a deadlock is a `LedgerUnavailable`.
    """

    def work(own: Engine, racer: int) -> list[Granted]:
        order = random.Random(racer).sample(IDS, len(IDS))
        ledger = ledger_of(own, f"racer-{racer}-{lapsed}", lease_seconds=600.0)
        granted = []
        for first in range(0, len(order), BATCH):
            claims = ledger.claim([ask(each) for each in order[first : first + BATCH]], str(first))
            assert all(isinstance(claim, Granted | HeldElsewhere) for claim in claims)
            granted += [claim for claim in claims if isinstance(claim, Granted)]
        return granted

    return [claim for claims in race(database_url, work) for claim in claims]


def by_id(claims: list[Granted]) -> dict[str, Granted]:
    """Return all claims by their ids, which are each there once."""
    assert Counter(claim.request_id for claim in claims) == Counter(IDS)
    return {claim.request_id: claim for claim in claims}


def test_of_workers_that_race_one_gets_each_request_one_takes_it_over_and_one_ends_it(
    database_url: str, sql: Rows
) -> None:
    """Eight want each request, and eight want it when its lease has lapsed; then two record."""
    stale = by_id(claim_all(database_url))
    sql.lapse()
    current = by_id(claim_all(database_url, lapsed=True))
    takes = {(each.grant, each.call_number, each.in_doubt_calls) for each in current.values()}
    assert takes == {(2, 2, 1)}
    calls = sql("SELECT class, count(*) AS n FROM verification.provider_call GROUP BY 1")
    assert {row["class"]: row["n"] for row in calls} == {"in_doubt": len(IDS), None: len(IDS)}

    def record_all(own: Engine, racer: int) -> int:
        grants = (stale, current)[racer]
        ledger = ledger_of(own)
        order = random.Random(racer).sample(IDS, len(IDS))
        result = Complete(Result(Outcome.MATCH, Charged.YES))
        fenced_out = 0
        for first in range(0, len(order), BATCH):
            ids = order[first : first + BATCH]
            entries = [Entry(ask(each), grants[each], MATCH, result) for each in ids]
            fenced_out += sum(isinstance(each, FencedOut) for each in ledger.record(entries, IDS))
        return fenced_out

    # A late answer ends its request too: whichever of the two comes second is fenced out.
    assert sum(race(database_url, record_all, 2)) == len(IDS)


# Two plans for one statement: rows in the order of an index, and as they lie in the table.
PLANS = ("SET enable_seqscan = off", "SET enable_indexscan = off; SET enable_bitmapscan = off")


def test_workers_that_record_and_announce_in_opposite_orders_never_deadlock(
    database_url: str, engine: Engine, sql: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which order an update has is the planner's choice, and no two workers need agree on it."""
    monkeypatch.setattr(ledger_module, "_CONTENDED_TRIES", 0)  # a deadlock is a failure here
    entries = _record_against_the_grain(engine)
    announced = [each.asked.request_id for each in entries]
    engines = [_open_with_plan(database_url, plan) for plan in PLANS]

    def repeat(opened: Engine) -> None:
        ledger_of(opened).record(entries, announced)

    try:
        with ThreadPoolExecutor(2) as recorders:
            for _ in range(10):
                list(recorders.map(repeat, engines))
                # So that each round has rows to change.
                sql("UPDATE verification.request SET event_sent_at = NULL")
    finally:
        for opened in engines:
            opened.dispose()
    # A session reports what it met when it ends.
    until(lambda: not sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'recorder'"))
    (met,) = sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert met["deadlocks"] == 0


def _open_with_plan(database_url: str, plan: str) -> Engine:
    opened = patient_engine(database_url, "recorder")
    # A deadlock is found in any case; a busy machine may take long over a lock that is none.
    settings = f"{plan}; SET lock_timeout = 0"
    event.listen(opened, "connect", lambda driver, _: driver.execute(settings))
    return opened


def _record_against_the_grain(engine: Engine) -> list[Entry]:
    """Claim from the last id to the first, and record from the first to the last."""
    ledger = ledger_of(engine)
    grants: dict[str, Granted] = {}
    for number in reversed(range(200)):
        (claim,) = ledger.claim([ask(IDS[number])], str(number))
        assert isinstance(claim, Granted)
        grants[claim.request_id] = claim
    done = Complete(Result(Outcome.MATCH, Charged.YES))
    entries = [Entry(ask(each), grants[each], MATCH, done) for each in sorted(grants)]
    for entry in entries:
        ledger.record([entry], [])
    return entries


def test_a_request_that_is_deleted_with_its_calls_is_a_new_one_to_a_claim_that_waited(
    engine: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    """Retention deletes both in one transaction; the new claim's first call is number 1 again."""
    finish(ledger, ask())
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    with ThreadPoolExecutor(1) as other, transactions.begin() as retention:
        retention.execute(text("DELETE FROM verification.provider_call"))
        retention.execute(text("DELETE FROM verification.request"))
        claims = other.submit(ledger.claim, [ask()], "2")
        until(sql.waiting_for_locks)
        retention.commit()
        (claim,) = claims.result()
    assert isinstance(claim, Granted)
    assert (claim.grant, claim.call_number, claim.calls) == (1, 1, 1)
