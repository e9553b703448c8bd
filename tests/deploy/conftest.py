"""The environments, rendered once; and a database that no migration has seen."""

import uuid
from collections.abc import Iterator

import pytest

from local_stack import Servers
from tests.deploy.manifests import ENVIRONMENTS, Manifests, rendered


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
