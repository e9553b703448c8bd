"""The environments, rendered once."""

import pytest

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
