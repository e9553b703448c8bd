"""What a test has opened is closed, and certificates are made once."""

import ssl
from collections.abc import Iterator
from functools import cache

import pytest

from tests.chaos.certificates import Authority
from tests.unit.provider.scripted import OPEN, Certificate


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    OPEN.close()


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
