"""Every test of this folder asks the ledger what it promises, on an empty database."""

import time
from datetime import datetime

import pytest
from sqlalchemy import Engine

from tests.conformance.bench import Bench, granted
from tests.integration.store.conftest import engine
from worker.core.claims import Granted
from worker.core.timing import SHANGHAI

__all__ = ["engine"]


@pytest.fixture
def bench(engine: Engine) -> Bench:
    """Give the database with a look inside. A test that began yesterday has another budget."""
    if (now := datetime.now(SHANGHAI)).strftime("%H:%M") == "23:59":
        time.sleep(60 - now.second)
    return Bench(engine)


@pytest.fixture
def stale(bench: Bench) -> Granted:
    """Let worker `one` claim, and its lease lapse."""
    claim = granted(bench.ledger())
    bench.lapse()
    return claim
