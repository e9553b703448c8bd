"""A scripted provider, the client that calls it, and a person who does not exist."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.certificates import Authority
from tests.unit.provider.scripted import ScriptedServer
from worker.core.request import CheckType, Person, PersonField, VerificationRequest
from worker.provider.client import PersonalAuthClient
from worker.provider.config import ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.provider.scripted import Act, Certificate, ClientMaker, ServerMaker


@pytest.fixture
def serve() -> Iterator[ServerMaker]:
    servers: list[ScriptedServer] = []

    def make(*acts: Act, tls: ssl.SSLContext | None = None) -> ScriptedServer:
        servers.append(ScriptedServer(*acts, tls=tls))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def connect(serve: ServerMaker) -> Iterator[ClientMaker]:  # clients close before servers do
    clients: list[PersonalAuthClient] = []

    def make(url: str, **options: Any) -> PersonalAuthClient:
        own = {
            name: options.pop(name) for name in ("stopping", "clock", "nonce") if name in options
        }
        config = ProviderConfig(url, "AK-TEST", "SK-TEST", **{"free_tries": 1, **options})
        clients.append(PersonalAuthClient(config, **own))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def asked() -> VerificationRequest:
    person = Person({PersonField.NAME: "张三", PersonField.ID_CARD: "11010519491231002X"})
    return VerificationRequest("r-1", CheckType.ID_CARD_TWO_FACTOR, person, "test", None, None)


@pytest.fixture
def portrait() -> VerificationRequest:
    fields = {
        PersonField.NAME: "张三",
        PersonField.ID_CARD: "11010519491231002X",
        PersonField.PORTRAIT: "/9j/" + "A" * 200_000,
    }
    kind = CheckType.PORTRAIT_THREE_FACTOR
    return VerificationRequest("r-2", kind, Person(fields), "test", None, None)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    authority = Authority(tmp_path_factory.mktemp("tls"), "ca")

    @cache
    def make(host: str = "localhost", days: int = 1) -> tuple[str, ssl.SSLContext]:
        pair = authority.issue(f"{host}{days}", host, days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return str(authority.certificate), context

    return make
