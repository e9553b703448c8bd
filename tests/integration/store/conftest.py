"""A real ledger on a database that was empty before the test."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.integration.store.upkeep import Rows, patient_engine
from worker.core.request import Mode
from worker.store.claiming import LedgerConfig
from worker.store.ledger import PostgresLedger
from worker.store.quota import Quota

CONFIG = LedgerConfig("one", Mode.SANDBOX, lease_seconds=60.0, max_in_doubt_calls=1)

# An engine keeps what it has compiled: tests of one database share one, and no connection.
engine_of = cache(patient_engine)


def ledger_of(
    engine: Engine,
    worker: str = "one",
    *,
    now: Callable[[], float] = time.monotonic,
    calls_per_minute: int | None = None,
    daily_call_budget: int | None = None,
    **options: Any,
) -> PostgresLedger:
    """Make the ledger of a worker with these limits; the options are of `LedgerConfig`."""
    quota: Quota | None = Quota(calls_per_minute, daily_call_budget)
    quota = None if quota == Quota() else quota
    config = replace(CONFIG, worker=worker, quota=quota, **options)
    return PostgresLedger(engine, config, now)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = engine_of(database_url, "store tests")
    yield opened
    opened.dispose()


@pytest.fixture
def as_worker(engine: Engine) -> Engine:
    """Give the worker's role to the connection that the pool gives out again and again."""
    with engine.connect() as database:
        database.execute(text("SET ROLE verification_worker"))
    return engine


@pytest.fixture
def ledger(engine: Engine) -> PostgresLedger:
    return ledger_of(engine)


@pytest.fixture
def sql(engine: Engine) -> Rows:
    return Rows(engine)
