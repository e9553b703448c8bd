"""One sandbox for all tests that do not need their own; its slow behaviours are quick here."""

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.caller import Caller, RunningSandbox
from worker.sandbox.settings import SandboxSettings

QUICK = SandboxSettings(slow_seconds=0.0, drip_interval=0.0, huge_bytes=3_000_000)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox(QUICK) as running:
        yield running


@pytest.fixture
def caller(sandbox: RunningSandbox) -> Caller:
    caller = Caller(sandbox)
    caller.reset()
    return caller
