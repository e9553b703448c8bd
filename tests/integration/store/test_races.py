"""Many workers want the same requests: each goes to one, and nobody waits for ever."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

from sqlalchemy import text

from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH
from worker.core.claims import Entry, FencedOut, Granted, HeldElsewhere
from worker.core.outcome import Charged, Outcome, Result
from worker.core.request import Mode
from worker.core.retry import Complete
from worker.store.engine import open_engine
from worker.store.ledger import LedgerConfig, PostgresLedger

if TYPE_CHECKING:
    from sqlalchemy import Engine

RACERS = 8
IDS = [f"onb-{number:04d}" for number in range(800)]
BATCH = 100


def race(database_url: str, *, lapsed: bool = False) -> list[list[Granted]]:
    """Let eight workers claim all ids, each in an order of its own; return what each was granted.

    Raises what any of them raises: a deadlock is a `LedgerUnavailable`.
    """
    start = Barrier(RACERS)

    def claim_all(racer: int) -> list[Granted]:
        order = random.Random(racer).sample(IDS, len(IDS))
        engine = open_engine(database_url, f"racer-{racer}")
        config = LedgerConfig(f"racer-{racer}-{lapsed}", Mode.SANDBOX, 600.0, 1)
        ledger = PostgresLedger(engine, config)
        granted = []
        try:
            start.wait(30)
            for first in range(0, len(order), BATCH):
                batch = [ask(request_id) for request_id in order[first : first + BATCH]]
                claims = ledger.claim(batch, str(first))
                assert all(isinstance(claim, Granted | HeldElsewhere) for claim in claims)
                granted += [claim for claim in claims if isinstance(claim, Granted)]
        finally:
            engine.dispose()
        return granted

    with ThreadPoolExecutor(RACERS) as racers:
        return list(racers.map(claim_all, range(RACERS)))


def test_eight_workers_race_for_new_requests_and_each_is_granted_once(database_url: str) -> None:
    granted = Counter(claim.request_id for claims in race(database_url) for claim in claims)
    assert granted == Counter(IDS)


def test_eight_workers_race_for_lapsed_requests_and_each_is_taken_over_once(
    database_url: str, engine: Engine
) -> None:
    race(database_url)
    with engine.connect() as database:
        database.execute(
            text("UPDATE verification.request SET lease_until = now() - interval '1s'")
        )
    claims = [claim for claims in race(database_url, lapsed=True) for claim in claims]
    with engine.connect() as database:
        calls = database.execute(
            text("SELECT class, count(*) FROM verification.provider_call GROUP BY 1")
        ).all()
    assert Counter(claim.request_id for claim in claims) == Counter(IDS)
    assert {(claim.grant, claim.call_number, claim.in_doubt_calls) for claim in claims} == {
        (2, 2, 1)
    }
    assert {row[0]: row[1] for row in calls} == {"in_doubt": len(IDS), None: len(IDS)}


def test_stale_and_current_owners_record_at_once_and_one_of_each_counts(
    database_url: str, engine: Engine
) -> None:
    stale = {claim.request_id: claim for claims in race(database_url) for claim in claims}
    with engine.connect() as database:
        database.execute(
            text("UPDATE verification.request SET lease_until = now() - interval '1s'")
        )
    current = {
        claim.request_id: claim for claims in race(database_url, lapsed=True) for claim in claims
    }
    start = Barrier(2)

    def record_all(grants: dict[str, Granted], seed: int) -> int:
        ledger = PostgresLedger(engine, LedgerConfig("any", Mode.SANDBOX, 600.0, 1))
        order = random.Random(seed).sample(IDS, len(IDS))
        result = Complete(Result(Outcome.MATCH, Charged.YES))
        start.wait(30)
        fenced_out = 0
        for first in range(0, len(order), BATCH):
            ids = order[first : first + BATCH]
            entries = [Entry(ask(each), grants[each], MATCH, result) for each in ids]
            fenced_out += sum(isinstance(each, FencedOut) for each in ledger.record(entries, IDS))
        return fenced_out

    with ThreadPoolExecutor(2) as recorders:
        fenced_out = list(recorders.map(record_all, (stale, current), (1, 2)))
    assert fenced_out == [len(IDS), 0]
