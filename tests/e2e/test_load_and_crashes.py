"""Five thousand messages, some of them twice, some through crashes: then everything is counted."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e.harness import RESULTS, House, request, until

if TYPE_CHECKING:
    from typing import Any

MESSAGES = 5_000
TWICE = 1_000
SEED = 20260102


def requests() -> list[dict[str, Any]]:
    return [request(f"load-{number}") for number in range(MESSAGES)]


def settle(house: House, seconds: float = 120.0) -> None:
    """Wait until no queue holds a message, delay queues included."""
    queues = ["verification.requests", *(f"verification.retry.{delay}s" for delay in (1, 2, 3))]
    until(lambda: house.count() == MESSAGES, seconds)
    until(lambda: sum(house.depth(queue) for queue in queues) == 0, seconds)


def run_on(house: House, goal: int) -> None:
    """Wait until so many calls stand in the ledger, or all is done."""
    until(lambda: house.count("calls") >= goal or house.count() == MESSAGES)


def test_five_thousand_messages_a_thousand_of_them_twice_cost_five_thousand_charges(
    house: House,
) -> None:
    messages = requests()
    messages += messages[:TWICE]
    random.Random(SEED).shuffle(messages)
    house.publish_many(messages)
    worker = house.start_worker()
    settle(house)
    until(lambda: house.depth("collector") >= MESSAGES + TWICE)

    charges = house.provider.charges()
    events = house.events()
    assert charges["charges"] == MESSAGES
    assert charges["calls"] == house.count("calls") == MESSAGES
    assert len(events) == MESSAGES + TWICE
    assert len({event["eventId"] for event in events}) == MESSAGES
    assert {row["outcome"] for row in house.results().values()} == {"match"}
    assert worker.stop() == 0
    assert house.rows("SELECT 1 FROM verification_v1.results WHERE event_sent_at IS NULL") == []
    assert house.depth("verification.requests") == house.depth("verification.dead") == 0


def test_ten_crashes_under_load_lose_nothing_and_hide_no_charge(house: House) -> None:
    moments = random.Random(SEED)
    house.publish_many(requests())
    short = {"CALL_DEADLINE": "1", "CONNECT_TIMEOUT": "0.5", "LEASE_MARGIN": "0.5"}
    for _ in range(10):
        worker = house.start_worker(**short)
        run_on(house, house.count("calls") + moments.randrange(50, 400))
        worker.kill()
    worker = house.start_worker(**short)
    settle(house)

    charges = house.provider.charges()
    in_doubt = house.rows("SELECT 1 FROM verification_v1.calls WHERE class = 'in_doubt'")
    outcomes = Counter(row["outcome"] for row in house.results().values())
    announced = {event["requestId"] for event in house.events()}
    print(f"\noutcomes {dict(outcomes)}, charges {charges['charges']}, in doubt {len(in_doubt)}")
    assert house.count("open_requests") == 0
    assert sum(outcomes.values()) == MESSAGES == len(announced)
    assert set(outcomes) <= {"match", "failed"}
    assert outcomes["match"] <= charges["charges"] <= MESSAGES + len(in_doubt)
    assert charges["calls"] <= house.count("calls")
    assert charges["max_calls_per_subject"] == charges["calls"]
    assert worker.stop() == 0


def test_a_topology_that_is_there_is_found_good(house: House) -> None:
    assert house.command("topology", "check").returncode == 0
    house.channel.exchange_delete(RESULTS)
    checked = house.command("topology", "check")
    assert checked.returncode == 1
    assert RESULTS in checked.stdout
