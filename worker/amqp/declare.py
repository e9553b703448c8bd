"""Applying the topology and checking it, on a connection of its own that blocks. Any thread."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pika
from pika import exceptions

from worker.amqp.broker_errors import (
    AccessRefused,
    AmqpError,
    NotProvisioned,
    TopologyDiffers,
    mapped,
)
from worker.amqp.parameters import parameters
from worker.amqp.topology import Exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.amqp.topology import Queue, Topology


def apply(url: str, topology: Topology) -> None:
    """Declare everything; what exists as it should stays as it is.

    Raises BrokerUnavailable, AccessRefused, and TopologyDiffers at the first difference.
    """
    with connected(url, "topology") as connection:
        channel = connection.channel()
        try:
            declare_on(channel, topology)
        except exceptions.AMQPError as error:
            raise mapped(error) from error


def check(url: str, topology: Topology) -> list[str]:
    """Return a sentence for each queue or exchange that is missing or differs; [] is good.

    Existence is asked for passively. AMQP compares arguments only when it declares, so what exists
    is declared once more, which changes nothing. Bindings cannot be asked for over AMQP.
    Raises BrokerUnavailable, and AccessRefused for the connection.
    """
    with connected(url, "topology") as connection:
        objects: tuple[Exchange | Queue, ...] = (*topology.exchanges, *topology.queues)
        found = [_difference(connection, one) for one in objects]
    return [sentence for sentence in found if sentence]


def declare_on(channel: Any, topology: Topology) -> None:
    """Declare everything over a channel.

    Over one of a `SelectConnection` nothing is waited for: a failure closes the channel, and an
    answer to whatever is asked next says that all went well.
    """
    for exchange in topology.exchanges:
        _declare_exchange(channel, exchange)
    for queue in topology.queues:
        _declare_queue(channel, queue)
    for binding in topology.bindings:
        channel.queue_bind(
            queue=binding.queue, exchange=binding.exchange, routing_key=binding.routing_key
        )


def _declare_exchange(channel: Any, exchange: Exchange, *, passive: bool = False) -> None:
    channel.exchange_declare(
        exchange=exchange.name,
        exchange_type=exchange.kind,
        passive=passive,
        durable=True,
        arguments=dict(exchange.arguments),
    )


def _declare_queue(channel: Any, queue: Queue, *, passive: bool = False) -> None:
    channel.queue_declare(
        queue=queue.name, passive=passive, durable=True, arguments=dict(queue.arguments)
    )


def _difference(connection: Any, one: Exchange | Queue) -> str | None:
    try:
        channel = connection.channel()  # one each: a failure costs the channel
        for passive in (True, False):
            if isinstance(one, Exchange):
                _declare_exchange(channel, one, passive=passive)
            else:
                _declare_queue(channel, one, passive=passive)
        channel.close()
    except exceptions.AMQPError as error:
        return _sentence(one, mapped(error))
    return None


def _sentence(one: Exchange | Queue, error: AmqpError) -> str:
    what = f"{'exchange' if isinstance(one, Exchange) else 'queue'} {one.name}"
    match error:
        case NotProvisioned():
            return f"{what} is missing: run verification-worker topology apply"
        case TopologyDiffers():
            return f"{what} differs: {error.what}"
        case AccessRefused():
            return f"{what} cannot be checked: {error}"
        case _:
            raise error


@contextmanager
def connected(url: str, role: str) -> Iterator[Any]:
    """Connect, and close at the end. Raises InvalidUrl, BrokerUnavailable or AccessRefused."""
    try:
        connection = pika.BlockingConnection(parameters(url, role))
    except (exceptions.AMQPError, OSError) as error:
        raise mapped(error) from error
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()
