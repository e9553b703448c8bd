"""A scripted provider, the client that calls it, and a person who does not exist."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.provider.scripted import ScriptedServer
from worker.core.request import CheckType, Person, PersonField, VerificationRequest
from worker.provider.client import PersonalAuthClient
from worker.provider.config import ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    made: dict[str, tuple[str, ssl.SSLContext]] = {}

    def make(name: str) -> tuple[str, ssl.SSLContext]:
        if name not in made:
            made[name] = _self_signed(tmp_path_factory.mktemp("tls"), name)
        return made[name]

    return make


def _self_signed(folder: Path, name: str) -> tuple[str, ssl.SSLContext]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={name}",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return str(cert), context
