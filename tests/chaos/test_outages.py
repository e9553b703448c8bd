"""An outage of the provider costs nothing and needs no person; limits hold over all workers."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from tests.e2e.harness import DEAD, Process, Stack, free_port, request, until

MESSAGES = 300
# The first wait of a parked worker: probes then come after 0.5, 1, 2, … seconds.
FAST = {"PROBE_SECONDS": "0.5", "CONCURRENCY": "8", "PREFETCH": "64", "BREAKER_FAILURES": "3"}
# More than doubling waits leave time for in a minute, however long the test looks.
PROBES = 8
# Longer than all retry delays of the stack together (1 + 2 + 3 s): whoever were counted would fail.
OUTAGE_SECONDS = 8.0


def send(stack: Stack, count: int = MESSAGES) -> set[str]:
    """Publish so many requests for a match and return their ids."""
    ids = {f"outage-{number}" for number in range(count)}
    stack.publish_many(request(one) for one in sorted(ids))
    return ids


def watched_worker(stack: Stack, **settings: str) -> Process:
    """Start a worker that can be asked whether it is ready."""
    return stack.start_worker(**{**FAST, "HTTP_PORT": free_port(), **settings})


def assert_all_match(stack: Stack, ids: Iterable[str]) -> None:
    assert stack.outcomes() == dict.fromkeys(ids, "match")
    assert stack.depth(DEAD) == 0
    assert stack.count("open_requests") == 0


@pytest.mark.parametrize(
    ("act", "reason"), [("access_error", "credentials"), ("quota_exceeded", "quota")]
)
def test_when_every_call_would_be_refused_then_nothing_is_called_and_work_resumes_by_itself(
    stack: Stack, act: str, reason: str
) -> None:
    stack.provider.play(act=act)
    ids = send(stack)
    worker = watched_worker(stack)
    until(lambda: worker.said("worker.parked"))
    assert worker.ready()[1].startswith(f"parked: {reason} (HTTP ")
    until(lambda: stack.waiting() == MESSAGES)
    probes = stack.provider.charges()["calls"]
    assert probes <= 8 + PROBES, "no more than were under way, and a few probes"
    assert stack.depth(DEAD) == stack.depth("collector") == stack.count() == 0
    # Only the call that told it is counted, for it may have been that request alone.
    attempts = stack.rows("SELECT attempts FROM verification_v1.open_requests")
    assert sum(row["attempts"] for row in attempts) <= 1
    stack.provider.play()
    until(lambda: worker.said("worker.resumed"))
    until(lambda: stack.count() == MESSAGES)
    assert_all_match(stack, ids)
    assert stack.provider.charges()["charges"] == MESSAGES
    assert worker.ready() == (200, "ok")
    assert worker.stop() == 0


def test_when_the_provider_fails_for_longer_than_all_retries_then_nobody_fails(
    stack: Stack,
) -> None:
    stack.provider.play(latency=0.3)  # the outage begins long before the last call
    ids = send(stack)
    worker = watched_worker(stack)
    until(lambda: stack.count() > 20)
    stack.provider.play(act="unavailable")
    until(lambda: worker.said("worker.parked"))
    before = stack.provider.charges()["calls"]
    time.sleep(OUTAGE_SECONDS)  # nothing to wait for, for nothing may happen
    until(lambda: stack.provider.charges()["calls"] >= before + 2)
    assert stack.provider.charges()["calls"] <= before + 8 + PROBES
    assert stack.depth(DEAD) == 0
    stack.provider.play()
    until(lambda: stack.count() == MESSAGES)
    assert_all_match(stack, ids)
    assert stack.provider.charges()["charges"] == MESSAGES
    assert worker.stop() == 0


def test_when_the_provider_throttles_then_it_is_called_less_and_nobody_fails(
    stack: Stack,
) -> None:
    # Eight callers try three times each, a second apart; then two probes do.
    stack.provider.play(steps=[{"act": "rate_limited", "calls": 30}, {"act": None}])
    ids = send(stack)
    worker = watched_worker(stack)
    until(lambda: stack.count() == MESSAGES)
    assert_all_match(stack, ids)
    charges = stack.provider.charges()
    assert charges["charges"] == MESSAGES
    assert charges["calls"] == MESSAGES + 30
    assert worker.said('"reason":"provider_failing"')
    assert worker.stop() == 0


def test_when_two_workers_share_a_limit_then_the_provider_never_sees_more(stack: Stack) -> None:
    """At 600 a minute ten calls a second may be made, from the first second on."""
    send(stack, 150)
    limit = {"PROVIDER_CALLS_PER_MINUTE": "600"}
    workers = [watched_worker(stack, **limit) for _ in range(2)]
    first = begun = 0.0
    while not first:
        begun, first = time.monotonic(), stack.provider.charges()["calls"]
    while (calls := stack.provider.charges()["calls"]) < 150:
        # Places are given out one second ahead; what 16 callers have sent is counted late where the
        # provider stood still.
        assert calls - first <= 10 * (time.monotonic() - begun + 1.0) + 1 + 16
        time.sleep(0.2)
    assert time.monotonic() - begun > (150 - 16 - first) / 10 - 1, "it was no limit"
    until(lambda: stack.count() == 150)
    charges = stack.provider.charges()
    assert charges["charges"] == charges["calls"] == 150
    for worker in workers:
        assert worker.stop() == 0


def test_when_the_budget_of_the_day_is_spent_then_the_rest_waits_and_nobody_fails(
    stack: Stack,
) -> None:
    ids = send(stack, 80)
    workers = [watched_worker(stack, DAILY_CALL_BUDGET="50") for _ in range(2)]
    for worker in workers:
        until(lambda worker=worker: worker.said("worker.parked"))  # type: ignore[misc]
    until(lambda: stack.count() == 50)
    until(lambda: stack.waiting() == 30)
    assert {worker.ready() for worker in workers} == {(200, "parked: daily_budget")}
    assert stack.provider.charges()["calls"] == 50
    assert stack.depth(DEAD) == stack.count("open_requests") == 0
    for worker in workers:
        assert worker.stop() == 0
    watched_worker(stack, DAILY_CALL_BUDGET="200")
    until(lambda: stack.count() == 80)
    assert_all_match(stack, ids)
    assert stack.provider.charges()["charges"] == 80
