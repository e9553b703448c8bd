"""A stack for each test, or one with a worker for a whole module; the sandbox counts from zero."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local_stack import Servers
from tests.conftest import NewDatabase
from tests.e2e.harness import DEAD, REQUESTS, SandboxProcess, Stack, sandbox, until

UNUSED = "postgresql://unused"
"""A database that a command does not dial."""


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[SandboxProcess]:
    """Run one sandbox for all tests: it starts in half a second."""
    with sandbox() as running:
        yield running


@pytest.fixture
def provider(running_sandbox: SandboxProcess) -> SandboxProcess:
    """Give a sandbox that has counted nothing yet."""
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture(scope="session")
def vhost_with_topology(servers: Servers, running_sandbox: SandboxProcess) -> Iterator[str | None]:
    """Name a vhost to copy, which is quicker than the command; or none."""
    if servers.broker.management_url is None:
        yield None
        return
    name = f"template-{uuid.uuid4().hex}"
    apply_topology(Stack(servers.broker.create_vhost(name), UNUSED, running_sandbox))
    yield name
    servers.broker.management.delete_vhost(name)


@pytest.fixture
def stack(
    servers: Servers,
    amqp_url: str,
    database_url: str,
    provider: SandboxProcess,
    vhost_with_topology: str | None,
) -> Iterator[Stack]:
    """Give a stack with its topology applied and its events collected; no worker yet."""
    with built(servers, Stack(amqp_url, database_url, provider), vhost_with_topology) as ready:
        yield ready


@pytest.fixture(scope="module")
def module_stack(
    servers: Servers,
    new_database: NewDatabase,
    running_sandbox: SandboxProcess,
    vhost_with_topology: str | None,
) -> Iterator[Stack]:
    """Give a stack that the tests of a module share, with one worker in it."""
    running_sandbox.reset()  # it counts by person, and another module has asked about the same
    name = f"module-{uuid.uuid4().hex}"
    broker = servers.broker
    amqp_url = broker.vhost_for(name) if vhost_with_topology is None else broker.create_vhost(name)
    with (
        new_database() as database_url,
        built(
            servers, Stack(amqp_url, database_url, running_sandbox), vhost_with_topology
        ) as stack,
    ):
        worker = stack.start_worker()
        yield stack
        assert worker.stop() == 0
    if vhost_with_topology is not None:
        broker.management.delete_vhost(name)


@pytest.fixture
def working(module_stack: Stack, provider: SandboxProcess) -> Iterator[Stack]:
    """Give the module's stack, at rest: its tests have request ids of their own.

    Rows of other tests are in its tables. Its queues are empty, and its settings as they were.
    """
    settings = dict(module_stack.environment)
    yield module_stack
    until(lambda: module_stack.count("open_requests") == 0 and not module_stack.unsent())
    until(lambda: module_stack.depth(REQUESTS) == 0)
    for queue in ("collector", DEAD):
        module_stack.channel.queue_purge(queue)
    module_stack.environment = settings


@contextmanager
def built(servers: Servers, stack: Stack, template: str | None) -> Iterator[Stack]:
    """Apply a stack's topology, or copy it, and collect its events; close it in the end."""
    try:
        if template is None or servers.broker.management_url is None:
            apply_topology(stack)
        else:
            servers.broker.management.copy_vhost(template, stack.vhost)
        stack.collect_events()
        yield stack
    finally:
        stack.close()


def apply_topology(stack: Stack) -> None:
    """Declare what the worker needs, by its own command."""
    stack.command("topology", "apply", code=0)
