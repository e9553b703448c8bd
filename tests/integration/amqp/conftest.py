"""Sessions that end with their test, on a vhost of their own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest
import structlog

from tests.integration.amqp.harness import TOPOLOGY, Bare, Log
from worker.amqp.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.amqp.topology import Topology


class MakeSession(Protocol):
    """Makes a session that is closed when the test ends."""

    def __call__(
        self,
        *,
        prefetch: int = 100,
        topology: Topology | None = TOPOLOGY,
        url: str | None = None,
        on_failure: Callable[[Exception], None] | None = None,
    ) -> Session:
        """Make one; the defaults suit most tests."""
        ...


@pytest.fixture
def log() -> Iterator[Log]:
    """All log lines of this test."""
    collected = Log()
    before = structlog.get_config()
    structlog.configure(processors=[collected], cache_logger_on_first_use=False)
    yield collected
    structlog.configure(**before)


@pytest.fixture
def make_session(amqp_url: str, log: Log) -> Iterator[MakeSession]:
    """Make sessions on this test's vhost; one that fails fails the test, if nobody asks for it."""
    failures: list[Exception] = []
    with ExitStack() as stack:

        def make(
            *,
            prefetch: int = 100,
            topology: Topology | None = TOPOLOGY,
            url: str | None = None,
            on_failure: Callable[[Exception], None] | None = None,
        ) -> Session:
            session = Session(
                url or amqp_url,
                prefetch=prefetch,
                topology=topology,
                on_failure=on_failure or failures.append,
            )
            stack.callback(session.close)
            return session

        yield make
    assert failures == []


@pytest.fixture
def bare(amqp_url: str) -> Iterator[Bare]:
    """Open a plain client on this test's vhost."""
    client = Bare(amqp_url)
    yield client
    client.close()
