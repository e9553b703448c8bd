"""Every test of this room asks the ledger what it promises, on an empty database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.bench import Bench
from tests.integration.store.conftest import engine_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    """Give the database with a look inside."""
    engine = engine_of(database_url, "conformance")
    yield Bench(engine)
    engine.dispose()
