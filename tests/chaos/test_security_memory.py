"""Memory is bounded by what the worker holds: PREFETCH messages of the largest size, once or twice.

Measured: 78 MB without messages, and with 64 of 1 MiB each 1.0 times their size while they wait,
1.5 times while all of them are published again for a retry. The factor asserted here is 3.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.database import administrator
from tests.e2e.harness import Process, Stack, request, until

MIB = 1_048_576
PREFETCH = 64
FACTOR = 3
RECOVERS = "119999194912310363"
"""The sandbox: 503 once, so that the message waits in a retry queue, and then a match."""


def peak(worker: Process) -> int:
    """Return the most bytes that the worker ever had in memory."""
    status = Path(f"/proc/{worker.popen.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def largest(name: str) -> bytes:
    """Return a request that is as long as a message may be: JSON may end in spaces."""
    return json.dumps(request(name, RECOVERS)).encode().ljust(MIB)


@pytest.mark.timeout(600)
def test_when_the_largest_messages_wait_and_are_retried_then_memory_stays_bounded(
    stack: Stack,
) -> None:
    stack.forks = False  # what its parent had loaded would count as its own
    idle = stack.start_worker(PREFETCH=str(PREFETCH))
    empty = peak(idle)
    idle.stop()
    names = [f"large-{number}" for number in range(2 * PREFETCH)]
    for name in names:
        stack.publish(largest(name))
    with administrator(stack) as database, database.transaction():
        database.execute("LOCK TABLE verification.request IN EXCLUSIVE MODE")
        worker = stack.start_worker(PREFETCH=str(PREFETCH))
        until(lambda: peak(worker) > empty + PREFETCH * MIB // 2)  # they are in its memory
        until(lambda: worker.said("database.unavailable"))
        assert peak(worker) < empty + FACTOR * PREFETCH * MIB
        worker.kill()
    worker = stack.start_worker(PREFETCH=str(PREFETCH))
    # A claim that waited behind the lock may be committed: then its lease must lapse first.
    until(lambda: stack.count() == len(names), 280)
    assert peak(worker) < empty + FACTOR * PREFETCH * MIB
    assert {row["outcome"] for row in stack.results().values()} == {"match"}
