"""An environment of each test's own."""

import pytest

from tests.chaos.certificates import Certificates
from worker.settings import Settings

SECRETS = {
    "AMQP_URL": "amqp://user:broker-secret@localhost:5672/v",
    "DATABASE_URL": "postgresql://user:database-secret@localhost/v",
    "PROVIDER_ACCESS_KEY": "access-secret",
    "PROVIDER_SECRET_KEY": "signing-secret",
    "PROVIDER_SESSION_TOKEN": "session-secret",
    "DIGEST_KEY": "digest-secret-of-at-least-32-characters",
}
SANDBOX_URL = "http://localhost:8080/v1/personal"


class Environment:
    """The variables of one test; none of the machine's own are seen."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        for name in Settings.model_fields:
            self.unset(name.upper(), f"{name.upper()}_FILE", name)

    def set(self, **variables: object) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, str(value))

    def unset(self, *names: str) -> None:
        for name in names:
            self._patch.delenv(name, raising=False)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Give an environment in which nothing is set."""
    return Environment(monkeypatch)


@pytest.fixture
def whole(env: Environment) -> Environment:
    """Give one with all that is required."""
    env.set(**SECRETS, PROVIDER_MODE="sandbox", PROVIDER_URL=SANDBOX_URL)
    return env


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))
