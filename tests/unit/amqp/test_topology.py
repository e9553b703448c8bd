"""The topology is what the contract says, with arguments that RabbitMQ 3.10 to 4.x take."""

import pytest

from worker.amqp.topology import topology
from worker.contract.names import DEAD, REQUEST_QUEUES, REQUESTS, UNROUTED
from worker.core.request import Lane

DELAYS = (5, 30, 120, 600, 1800)
BULK_REQUESTS = REQUEST_QUEUES[Lane.BULK]


def test_there_is_one_retry_queue_for_each_delay_named_after_it() -> None:
    names = [queue.name for queue in topology(DELAYS, 14).queues]
    delays = ("5s", "30s", "2m", "10m", "30m")
    assert names == [
        "verification.dead",
        "verification.unrouted",
        "verification.requests",
        *(f"verification.retry.{delay}" for delay in delays),
        "verification.requests.bulk",
        *(f"verification.bulk.retry.{delay}" for delay in delays),
    ]


def dead_letters_to(queue: str) -> dict[str, object]:
    return {
        "x-delivery-limit": 50,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        # dead-lettered at least once, after fifty returns
        (REQUESTS, dead_letters_to(DEAD)),
        # back to the requests after the queue's own time
        ("verification.retry.2m", {"x-message-ttl": 120_000, **dead_letters_to(REQUESTS)}),
        # bulk's go back to bulk
        (BULK_REQUESTS, dead_letters_to(DEAD)),
        (
            "verification.bulk.retry.2m",
            {"x-message-ttl": 120_000, **dead_letters_to(BULK_REQUESTS)},
        ),
        # kept for the given days, and browsed as often as anyone likes
        (DEAD, {"x-delivery-limit": 1_000_000, "x-message-ttl": 14 * 24 * 3600 * 1000}),
        (UNROUTED, {"x-delivery-limit": 1_000_000}),  # -1 dead-letters at the first return on 3.10
    ],
)
def test_a_queue_has_the_arguments_that_the_contract_says(
    name: str, arguments: dict[str, object]
) -> None:
    (queue,) = [one for one in topology(DELAYS, 14).queues if one.name == name]
    assert queue.arguments == {"x-queue-type": "quorum", **arguments}
