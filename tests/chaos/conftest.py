"""Proxies and servers to mistreat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from local_broker import Broker
from local_database import Database
from local_ports import is_taken
from local_stack import Servers
from tests.chaos.proxy import Proxy, ProxyMaker, address


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


def _bring_back(server: Broker | Database) -> None:
    if is_taken(address(server.url)[1]):
        server.resume()
    else:
        server.start()
