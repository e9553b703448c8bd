"""Sessions that end with their test, on a vhost of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import structlog

from tests.integration.amqp.harness import TOPOLOGY, Bare, Collector, Log, ids
from worker.amqp import declare
from worker.amqp.consumer import Intake
from worker.amqp.session import Session
from worker.amqp.topology import Topology
from worker.core.request import Lane

MakeSession = Callable[..., Session]
"""Makes a session that is closed when the test ends; see `Session` for the options."""
Start = Callable[..., tuple[Session, Collector]]
"""Makes such a session and starts it with the sink given, or one that keeps what it gets."""
Consuming = Callable[..., tuple[Session, Collector]]
"""Publishes so many requests and starts a session, with these options, that takes them."""


@pytest.fixture
def log() -> Iterator[Log]:
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
            url: str = amqp_url,
            prefetch: int = 100,
            topology: Topology | None = TOPOLOGY,
            on_failure: Callable[[Exception], None] = failures.append,
        ) -> Session:
            session = Session(url, {Lane.LIVE: Intake(prefetch, topology)}, on_failure)
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


@pytest.fixture
def start(make_session: MakeSession) -> Start:
    def started(sink: Collector | None = None, **options: Any) -> tuple[Session, Collector]:
        session, sink = make_session(**options), sink or Collector()
        session.start(sink)
        return session, sink

    return started


@pytest.fixture
def consuming(start: Start, bare: Bare, amqp_url: str) -> Consuming:
    """Start a session on a vhost that has its topology, and requests."""

    def consume(requests: int, body: bytes = b"{}", **options: Any) -> tuple[Session, Collector]:
        declare.apply(amqp_url, TOPOLOGY)
        bare.publish(ids(requests), body)
        return start(**options)

    return consume
