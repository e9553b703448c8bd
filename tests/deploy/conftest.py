"""The environments, rendered once; and a database that no migration has seen."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.deploy.manifests import ENVIRONMENTS, Manifests, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_stack import Servers


@pytest.fixture(params=ENVIRONMENTS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """Give the manifests of each environment in turn."""
    environment: str = request.param
    return rendered(environment)


@pytest.fixture
def production() -> Manifests:
    """Give the manifests of production."""
    return rendered("production")


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """Give a database without any schema of ours."""
    name = f"empty_{uuid.uuid4().hex}"
    yield servers.database.create_database(name)
    servers.database.drop_database(name)
