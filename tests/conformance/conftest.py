"""Every test of this room asks the ledger what it promises, on an empty database."""

from collections.abc import Iterator

import pytest

from tests.conformance.bench import Bench
from tests.conformance.test_ledger import granted
from tests.integration.store.conftest import engine_of
from worker.core.claims import Granted


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    """Give the database with a look inside."""
    engine = engine_of(database_url, "conformance")
    yield Bench(engine)
    engine.dispose()


@pytest.fixture
def stale(bench: Bench) -> Granted:
    """Let worker `one` claim, and its lease lapse."""
    claim = granted(bench.ledger())
    bench.set_lease("onb-1", -1)
    return claim
