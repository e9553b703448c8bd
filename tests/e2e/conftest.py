"""A stack for each test: its own vhost and database, and a sandbox that counts from zero."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from local_management import Management
from tests.e2e.harness import SandboxProcess, Stack, sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_stack import Servers

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
    """Name a vhost to copy: that takes 0.05 s, the command half a second of a core; or none."""
    if servers.broker.management_url is None:
        yield None
        return
    name = f"template-{uuid.uuid4().hex}"
    apply_topology(Stack(servers.broker.create_vhost(name), UNUSED, running_sandbox))
    yield name
    servers.broker.delete_vhost(name)


@pytest.fixture
def stack(
    servers: Servers,
    amqp_url: str,
    database_url: str,
    provider: SandboxProcess,
    vhost_with_topology: str | None,
) -> Iterator[Stack]:
    """Give a stack with its topology applied and its events collected; no worker yet."""
    built = Stack(amqp_url, database_url, provider)
    try:
        if vhost_with_topology is None or servers.broker.management_url is None:
            apply_topology(built)
        else:
            Management(servers.broker.management_url).copy_vhost(vhost_with_topology, built.vhost)
        built.collect_events()
        yield built
    finally:
        built.close()


def apply_topology(stack: Stack) -> None:
    """Declare what the worker needs, by its own command."""
    applied = stack.command("topology", "apply")
    assert applied.returncode == 0, applied.stderr
