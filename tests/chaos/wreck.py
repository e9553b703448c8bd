"""A worker that was killed: what it left, and how another one comes after it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.backlog import UNREADABLE
from tests.chaos.invariants import (
    RETRY_QUEUES,
    Accounts,
    assert_nothing_lost,
    queues_are_empty,
    settle,
)
from tests.e2e.harness import CHECKOUT, REQUESTS, until

if TYPE_CHECKING:
    from tests.chaos.backlog import Backlog
    from tests.e2e.harness import Stack

# Few claims at once, so that a crash leaves few calls in doubt, under leases of 1.6 s.
DOOMED = {
    "CONCURRENCY": "2",
    "CALL_DEADLINE": "0.5",
    "CONNECT_TIMEOUT": "0.2",
    "LEASE_MARGIN": "0.2",
    "RETRY_DELAYS": "1s",
}
HEALTHY = {
    "CALL_DEADLINE": "1",
    "CONNECT_TIMEOUT": "0.5",
    "LEASE_MARGIN": "0.5",
    "RETRY_DELAYS": "1s",
    "PROBE_SECONDS": "0.5",
}


@dataclass
class Remains:
    """What a killed worker left."""

    results: dict[str, dict[str, Any]]
    calls: dict[str, int]
    charges: dict[str, Any]
    events: int
    messages: int

    @classmethod
    def of(cls, stack: Stack) -> Remains:
        """Look when the broker has taken back what the worker held, and take nothing."""
        until(lambda: not consumers(stack))
        query = "SELECT request_id, count(*) AS n FROM verification_v1.calls GROUP BY 1"
        return cls(
            stack.results(),
            {row["request_id"]: row["n"] for row in stack.rows(query)},
            stack.provider.charges(),
            stack.depth("collector"),
            sum(stack.depth(queue) for queue in (REQUESTS, *RETRY_QUEUES)),
        )

    def assert_done_stays_done(self, accounts: Accounts) -> None:
        """Check that no request that had its outcome then was called or changed again."""
        for name, row in self.results.items():
            now = accounts.results[name]
            assert now == {**row, "event_sent_at": now["event_sent_at"]}
            assert len(accounts.calls.get(name, [])) == self.calls.get(name, 0), name


def consumers(stack: Stack) -> int:
    """Return how many workers consume."""
    return int(stack.channel.queue_declare(REQUESTS, passive=True).method.consumer_count)


def crash(stack: Stack, step: str, nth: int = 1, **settings: str) -> Remains:
    """Run a worker that kills itself at this step; a step that it never reaches fails the test."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos.crashing_worker", step, str(nth)],
        env={**os.environ, **stack.environment, **DOOMED, **settings},
        cwd=CHECKOUT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr.decode()
    return Remains.of(stack)


def await_lapse(stack: Stack) -> None:
    """Wait until nobody has a lease."""
    leases = "SELECT 1 FROM verification_v1.open_requests WHERE lease_until >= now()"
    until(lambda: not stack.rows(leases))


def recover(stack: Stack, backlog: Backlog, **settings: str) -> Accounts:
    """Let a healthy worker finish, stop it, and count."""
    max_in_doubt_calls = int(settings.get("MAX_IN_DOUBT_CALLS", "1"))
    while True:
        worker = stack.start_worker(**HEALTHY, **settings)
        settle(stack, backlog.outcomes, events=len(backlog.messages))
        assert worker.stop() == 0
        # A repeat that it held stood in no queue; a worker that stops hands back what is no work.
        if queues_are_empty(stack):
            break
    accounts = assert_nothing_lost(stack, backlog.outcomes, max_in_doubt_calls=max_in_doubt_calls)
    for name, row in accounts.results.items():
        if row["in_doubt_calls"] > max_in_doubt_calls:
            assert (row["outcome"], row["error_kind"]) == ("failed", "in_doubt")
        else:
            assert row["outcome"] == backlog.outcomes[name], name
    if UNREADABLE in backlog.messages:
        assert sum(name is None for _, name in accounts.dead) >= backlog.messages.count(UNREADABLE)
    return accounts
