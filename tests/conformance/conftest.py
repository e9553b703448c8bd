"""Every test of this room runs over the ledger in memory and over the one in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.bench import Bench, FakeBench, PostgresBench
from worker.store.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.servers)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Give an empty ledger; only the real one starts a database."""
    if request.param == "memory":
        yield FakeBench()
        return
    engine = open_engine(request.getfixturevalue("database_url"), "conformance")
    yield PostgresBench(engine)
    engine.dispose()
