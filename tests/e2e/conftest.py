"""A house for each test: its own vhost and database, and a sandbox that counts from zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import House, SandboxProcess, sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@pytest.fixture
def house(amqp_url: str, database_url: str, provider: SandboxProcess) -> Iterator[House]:
    """Give a house with its topology applied and its events collected; no worker yet."""
    built = House(amqp_url, database_url, provider)
    try:
        applied = built.command("topology", "apply")
        assert applied.returncode == 0, applied.stderr
        built.collect_events()
        yield built
    finally:
        built.close()
