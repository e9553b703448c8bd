"""A database of the module's own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_stack import Servers


@pytest.fixture(scope="module")
def module_database_url(servers: Servers, migrated_database: str) -> Iterator[str]:
    """Give a migrated database."""
    name = f"test_{uuid.uuid4().hex}"
    yield servers.database.create_database(name, template=migrated_database)
    servers.database.drop_database(name)
