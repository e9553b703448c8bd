"""Five thousand messages, some of them twice, some through crashes: then everything is counted."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e.harness import RESULTS, Stack, request, until

if TYPE_CHECKING:
    from typing import Any

MESSAGES = 5_000
TWICE = 1_000
SEED = 20260102


def requests() -> list[dict[str, Any]]:
    return [request(f"load-{number}") for number in range(MESSAGES)]


def settle(stack: Stack, seconds: float = 120.0) -> None:
    """Wait until no queue holds a message, delay queues included."""
    queues = ["verification.requests", *(f"verification.retry.{delay}s" for delay in (1, 2, 3))]
    until(lambda: stack.count() == MESSAGES, seconds)
    until(lambda: sum(stack.depth(queue) for queue in queues) == 0, seconds)


def run_on(stack: Stack, goal: int) -> None:
    """Wait until so many calls stand in the ledger, or all is done."""
    until(lambda: stack.count("calls") >= goal or stack.count() == MESSAGES)


def test_five_thousand_messages_a_thousand_of_them_twice_cost_five_thousand_charges(
    stack: Stack,
) -> None:
    messages = requests()
    messages += messages[:TWICE]
    random.Random(SEED).shuffle(messages)
    stack.publish_many(messages)
    worker = stack.start_worker()
    settle(stack)
    until(lambda: stack.depth("collector") >= MESSAGES + TWICE)

    charges = stack.provider.charges()
    events = stack.events()
    assert charges["charges"] == MESSAGES
    assert charges["calls"] == stack.count("calls") == MESSAGES
    assert len(events) == MESSAGES + TWICE
    assert len({event["eventId"] for event in events}) == MESSAGES
    assert {row["outcome"] for row in stack.results().values()} == {"match"}
    assert worker.stop() == 0
    assert stack.rows("SELECT 1 FROM verification_v1.results WHERE event_sent_at IS NULL") == []
    assert stack.depth("verification.requests") == stack.depth("verification.dead") == 0


def test_ten_crashes_under_load_lose_nothing_and_hide_no_charge(stack: Stack) -> None:
    moments = random.Random(SEED)
    stack.publish_many(requests())
    short = {"CALL_DEADLINE": "1", "CONNECT_TIMEOUT": "0.5", "LEASE_MARGIN": "0.5"}
    for _ in range(10):
        worker = stack.start_worker(**short)
        run_on(stack, stack.count("calls") + moments.randrange(50, 400))
        worker.kill()
    worker = stack.start_worker(**short)
    settle(stack)

    charges = stack.provider.charges()
    in_doubt = stack.rows("SELECT 1 FROM verification_v1.calls WHERE class = 'in_doubt'")
    outcomes = Counter(row["outcome"] for row in stack.results().values())
    announced = {event["requestId"] for event in stack.events()}
    print(f"\noutcomes {dict(outcomes)}, charges {charges['charges']}, in doubt {len(in_doubt)}")
    assert stack.count("open_requests") == 0
    assert sum(outcomes.values()) == MESSAGES == len(announced)
    assert set(outcomes) <= {"match", "failed"}
    assert outcomes["match"] <= charges["charges"] <= MESSAGES + len(in_doubt)
    assert charges["calls"] <= stack.count("calls")
    assert charges["max_calls_per_subject"] == charges["calls"]
    assert worker.stop() == 0


def test_a_topology_that_is_there_is_found_good(stack: Stack) -> None:
    assert stack.command("topology", "check").returncode == 0
    stack.channel.exchange_delete(RESULTS)
    checked = stack.command("topology", "check")
    assert checked.returncode == 1
    assert RESULTS in checked.stdout
