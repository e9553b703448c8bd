"""One sandbox for all tests that do not need their own; its slow behaviours are quick here."""

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.caller import Caller
from worker.sandbox.server import Sandbox
from worker.sandbox.settings import SandboxSettings

QUICK = SandboxSettings(slow_seconds=0.01, drip_interval=0.0, huge_bytes=3_000_000)


@pytest.fixture(scope="session")
def running() -> Iterator[Sandbox]:
    with Sandbox(QUICK) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture
def caller(sandbox: Sandbox) -> Caller:
    return Caller(sandbox)
