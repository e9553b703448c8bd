"""What must exist on the broker, as data, and how it is declared. Any thread.

The kinds of arguments were declared on RabbitMQ 3.10, 4.0 and 4.3. A queue's arguments cannot be
changed once it exists: another value is another queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.contract.names import (
    BULK,
    DEAD,
    REQUEST_QUEUES,
    REQUESTS,
    RESULTS,
    UNROUTED,
    retry_queue,
)
from worker.core.request import Lane

DEFAULT_EXCHANGE = ""
"""Every queue is bound to it by its own name, always."""

# Prefetched innocents go back together with the message that kills a worker and share its count:
# 50 leaves room for ordinary crashes, while a poison message still ends.
DELIVERY_LIMIT = 50

# People browse these queues by taking and returning. Nothing stands behind them, so from 4.0 on
# the default limit of 20 returns would delete what was looked at; -1 is no limit on 4.x but
# dead-letters at the first return on 3.10.
BROWSE_LIMIT = 1_000_000

_MILLISECONDS = 1000
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str
    arguments: Mapping[str, str | int] = field(default_factory=dict)

    def declare(self, channel: Any, *, passive: bool = False) -> None:
        """Declare it over a channel, or only ask whether it is there."""
        channel.exchange_declare(
            exchange=self.name,
            exchange_type=self.kind,
            passive=passive,
            durable=True,
            arguments=dict(self.arguments),
        )


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue."""

    name: str
    arguments: Mapping[str, str | int] = field(default_factory=dict)

    def declare(self, channel: Any, *, passive: bool = False) -> None:
        """Declare it over a channel, or only ask whether it is there."""
        channel.queue_declare(
            queue=self.name, passive=passive, durable=True, arguments=dict(self.arguments)
        )


@dataclass(frozen=True, slots=True)
class Binding:
    """What an exchange passes on to a queue."""

    exchange: str
    queue: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """All that must exist, in the order in which it is declared."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]

    @property
    def objects(self) -> tuple[Exchange | Queue, ...]:
        """What has a name and can be asked for."""
        return (*self.exchanges, *self.queues)

    def __add__(self, more: Topology) -> Topology:
        return Topology(
            self.exchanges + more.exchanges,
            self.queues + more.queues,
            self.bindings + more.bindings,
        )


def request_queues(delays: tuple[int, ...]) -> list[str]:
    """Return the names of the queues in which requests wait, in the order of a message's life."""
    return [each.name for lane in Lane for each in _lane_queues(lane, delays)]


def topology(delays: tuple[int, ...], dead_letter_days: int) -> Topology:
    """Return the worker's topology; `delays` are the retries' waits in seconds."""
    return live_topology(delays, dead_letter_days) + bulk_topology(delays)


def live_topology(delays: tuple[int, ...], dead_letter_days: int) -> Topology:
    """Return what no worker can do without."""
    return Topology(
        exchanges=(
            Exchange(UNROUTED, "fanout"),
            Exchange(RESULTS, "topic", {"alternate-exchange": UNROUTED}),
            Exchange(REQUESTS, "topic"),
        ),
        queues=(
            # The dead queue first: the others dead-letter into it. A policy could change its
            # lifetime later and an argument cannot, but the worker is given nothing but AMQP.
            _queue(DEAD, BROWSE_LIMIT, lifetime=dead_letter_days * _DAY),
            _queue(UNROUTED, BROWSE_LIMIT),
            *_lane_queues(Lane.LIVE, delays),
        ),
        bindings=(
            Binding(UNROUTED, UNROUTED, ""),
            Binding(REQUESTS, REQUESTS, "#"),
        ),
    )


def bulk_topology(delays: tuple[int, ...]) -> Topology:
    """Return what the bulk lane adds. It dead-letters where the live one does."""
    return Topology(
        exchanges=(Exchange(BULK, "topic"),),
        queues=_lane_queues(Lane.BULK, delays),
        bindings=(Binding(BULK, REQUEST_QUEUES[Lane.BULK], "#"),),
    )


def declare_on(channel: Any, topology: Topology) -> None:
    """Declare everything over a channel.

    Over one of a `SelectConnection` nothing is waited for: a failure closes the channel, and an
    answer to whatever is asked next says that all went well.
    """
    for one in topology.objects:
        one.declare(channel)
    for binding in topology.bindings:
        channel.queue_bind(
            queue=binding.queue, exchange=binding.exchange, routing_key=binding.routing_key
        )


def _lane_queues(lane: Lane, delays: tuple[int, ...]) -> tuple[Queue, ...]:
    requests = REQUEST_QUEUES[lane]
    return (
        _queue(requests, DELIVERY_LIMIT, dead_letters_to=DEAD),
        # One lifetime for the whole queue: messages expire at the head only, so that different
        # waits in one queue would hold each other up.
        *(
            _queue(retry_queue(delay, lane), DELIVERY_LIMIT, delay, dead_letters_to=requests)
            for delay in delays
        ),
    )


def _queue(
    name: str, returns: int, lifetime: int | None = None, *, dead_letters_to: str | None = None
) -> Queue:
    """Return a quorum queue; its messages live so many seconds and survive so many returns."""
    arguments: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": returns}
    if lifetime is not None:
        arguments["x-message-ttl"] = lifetime * _MILLISECONDS
    if dead_letters_to is not None:
        # At least once, which needs both the strategy and the overflow behaviour.
        arguments |= {
            "x-dead-letter-exchange": DEFAULT_EXCHANGE,
            "x-dead-letter-routing-key": dead_letters_to,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    return Queue(name, arguments)
