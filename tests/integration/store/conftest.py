"""A real ledger on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.core.request import Mode
from worker.store.claiming import LedgerConfig
from worker.store.engine import open_engine
from worker.store.ledger import PostgresLedger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

CONFIG = LedgerConfig("one", Mode.SANDBOX, lease_seconds=60.0, max_in_doubt_calls=1)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Open the test's database."""
    opened = open_engine(database_url, "store tests")
    yield opened
    opened.dispose()


@pytest.fixture
def ledger(engine: Engine) -> PostgresLedger:
    """Make the ledger of one worker."""
    return PostgresLedger(engine, CONFIG)
