"""An outage of the provider costs nothing and needs no person; limits hold over all workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from local_ports import free_ports
from tests.chaos.invariants import RETRY_QUEUES
from tests.e2e.harness import DEAD, REQUESTS, House, Process, request, until

if TYPE_CHECKING:
    from collections.abc import Iterable

MESSAGES = 300
# The first wait of a parked worker: probes then come after 0.5, 1, 2, … seconds.
FAST = {"PROBE_SECONDS": "0.5", "CONCURRENCY": "8", "PREFETCH": "64", "BREAKER_FAILURES": "3"}
# Longer than all retry delays of the house together (1 + 2 + 3 s): whoever were counted would fail.
OUTAGE_SECONDS = 8.0


def send(house: House, count: int = MESSAGES) -> set[str]:
    """Publish so many requests for a match and return their ids."""
    ids = {f"outage-{number}" for number in range(count)}
    house.publish_many(request(one) for one in sorted(ids))
    return ids


def watched_worker(house: House, **settings: str) -> Process:
    """Start a worker that can be asked whether it is ready."""
    (port,) = free_ports(1)
    return house.start_worker(**{**FAST, "HTTP_PORT": str(port), **settings})


def waiting(house: House) -> int:
    """Count the messages that wait in the work queue and in the delay queues."""
    return sum(house.depth(queue) for queue in (REQUESTS, *RETRY_QUEUES))


def open_rows(house: House) -> list[dict[str, Any]]:
    return house.rows("SELECT state, attempts FROM verification_v1.open_requests")


def last(seconds: float) -> None:
    """Let an outage last: nothing to wait for, for nothing may happen."""
    time.sleep(seconds)


def assert_all_match(house: House, ids: Iterable[str]) -> None:
    results = house.results()
    assert set(results) == set(ids)
    assert {row["outcome"] for row in results.values()} == {"match"}
    assert house.depth(DEAD) == 0
    assert house.count("open_requests") == 0


@pytest.mark.parametrize(
    ("act", "reason"), [("access_error", "credentials"), ("quota_exceeded", "quota")]
)
def test_when_every_call_would_be_refused_then_nothing_is_called_and_work_resumes_by_itself(
    house: House, act: str, reason: str
) -> None:
    house.provider.play(act=act)
    ids = send(house)
    worker = watched_worker(house)
    until(lambda: worker.said("worker.parked"))
    assert worker.ready() == (200, f"parked: {reason}")
    until(lambda: waiting(house) == MESSAGES)
    probes = house.provider.charges()["calls"]
    assert probes <= 8 + 3, "no more than were under way, and a few probes"
    assert house.depth(DEAD) == house.depth("collector") == house.count() == 0
    # Only the call that told it is counted, for it may have been that request alone.
    assert sum(row["attempts"] for row in open_rows(house)) <= 1
    house.provider.play()
    until(lambda: worker.said("worker.resumed"))
    until(lambda: house.count() == MESSAGES)
    assert_all_match(house, ids)
    assert house.provider.charges()["charges"] == MESSAGES
    assert worker.ready() == (200, "ok")
    assert worker.stop() == 0


def test_when_the_provider_fails_for_longer_than_all_retries_then_nobody_fails(
    house: House,
) -> None:
    ids = send(house)
    worker = watched_worker(house)
    until(lambda: house.count() > 20)
    house.provider.play(act="unavailable")
    until(lambda: worker.said("worker.parked"))
    before = house.provider.charges()["calls"]
    last(OUTAGE_SECONDS)
    probes = house.provider.charges()["calls"] - before
    assert 2 <= probes <= 8 + 5
    assert house.depth(DEAD) == 0
    house.provider.play()
    until(lambda: house.count() == MESSAGES)
    assert_all_match(house, ids)
    assert house.provider.charges()["charges"] == MESSAGES
    assert worker.stop() == 0


def test_when_the_provider_throttles_then_it_is_called_less_and_nobody_fails(
    house: House,
) -> None:
    # Eight callers try three times each, a second apart; then two probes do.
    house.provider.play(steps=[{"act": "rate_limited", "calls": 30}, {"act": None}])
    ids = send(house)
    worker = watched_worker(house)
    until(lambda: house.count() == MESSAGES, 60)
    assert_all_match(house, ids)
    charges = house.provider.charges()
    assert charges["charges"] == MESSAGES
    assert charges["calls"] == MESSAGES + 30
    assert worker.said('"reason":"provider_failing"')
    assert worker.stop() == 0


def test_when_a_worker_starts_in_an_outage_then_it_parks_and_stops_cleanly(house: House) -> None:
    house.provider.play(act="access_error")
    send(house, 100)
    worker = watched_worker(house)
    until(lambda: worker.said("worker.parked"))
    assert worker.stop() == 0
    until(lambda: waiting(house) == 100)
    house.provider.play()
    second = watched_worker(house)
    until(lambda: house.count() == 100)
    assert second.stop() == 0
    assert house.provider.charges()["charges"] == 100


def test_when_two_workers_share_a_limit_then_the_provider_never_sees_more(house: House) -> None:
    """At 600 a minute ten calls a second may be made, from the first second on."""
    send(house, 150)
    limit = {"PROVIDER_CALLS_PER_MINUTE": "600"}
    workers = [watched_worker(house, **limit) for _ in range(2)]
    first = until(lambda: house.provider.charges()["calls"])
    begun = time.monotonic()
    while (calls := house.provider.charges()["calls"]) < 150:
        # Places are given out one second ahead.
        assert calls - first <= 10 * (time.monotonic() - begun + 1.0) + 1
        last(0.2)
    assert time.monotonic() - begun > (150 - first) / 10 - 1, "it was no limit"
    until(lambda: house.count() == 150)
    charges = house.provider.charges()
    assert charges["charges"] == charges["calls"] == 150
    for worker in workers:
        assert worker.stop() == 0


def test_when_the_budget_of_the_day_is_spent_then_the_rest_waits_and_nobody_fails(
    house: House,
) -> None:
    ids = send(house, 80)
    workers = [watched_worker(house, DAILY_CALL_BUDGET="50") for _ in range(2)]
    for worker in workers:
        until(lambda worker=worker: worker.said("worker.parked"))  # type: ignore[misc]
    until(lambda: house.count() == 50)
    until(lambda: waiting(house) == 30)
    assert {worker.ready() for worker in workers} == {(200, "parked: daily_budget")}
    assert house.provider.charges()["calls"] == 50
    assert house.depth(DEAD) == house.count("open_requests") == 0
    for worker in workers:
        assert worker.stop() == 0
    watched_worker(house, DAILY_CALL_BUDGET="200")
    until(lambda: house.count() == 80)
    assert_all_match(house, ids)
    assert house.provider.charges()["charges"] == 80
