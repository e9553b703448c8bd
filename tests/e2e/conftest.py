"""A house for each test: its own vhost, database and sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import House, SandboxProcess, sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def provider() -> Iterator[SandboxProcess]:
    """Run a sandbox for this test."""
    with sandbox() as running:
        yield running


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
