"""Proxies and servers to mistreat."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from local_broker import Broker
from local_database import Database
from local_ports import is_taken
from local_stack import Servers
from tests.chaos.proxy import Proxy, ProxyMaker, address
from tests.e2e.harness import OBSERVER, Stack, as_user


@pytest.fixture
def proxy_to() -> Iterator[ProxyMaker]:
    """Make proxies in front of the server that a URL names: broker, database or sandbox."""
    with ExitStack() as exits:
        yield lambda url: exits.enter_context(Proxy(url))


@pytest.fixture
def own_broker(servers: Servers) -> Iterator[Broker]:
    """Give this session's broker to restart and kill; it runs again when the test has ended."""
    assert isinstance(servers.broker, Broker)
    yield servers.broker
    _bring_back(servers.broker)


@pytest.fixture
def own_database(servers: Servers) -> Iterator[Database]:
    """Give this session's database server to restart and kill; it runs when the test has ended."""
    assert isinstance(servers.database, Database)
    yield servers.database
    _bring_back(servers.database)


@pytest.fixture
def narrow_database_url(stack: Stack) -> Iterator[str]:
    """Give the URL of a login that is a member of verification_worker and nothing else."""
    name, password = f"u{secrets.token_hex(6)}", secrets.token_hex()
    # By this name it is no worker's session, which tests end.
    with psycopg.connect(stack.database_url, autocommit=True, application_name=OBSERVER) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE verification_worker")
        try:
            yield as_user(stack.database_url, name, password)
        finally:
            stack.close()  # its workers are connected as this role
            owner.execute(f"DROP ROLE {name}")


def _bring_back(server: Broker | Database) -> None:
    if is_taken(address(server.url)[1]):
        server.resume()
    else:
        server.start()
