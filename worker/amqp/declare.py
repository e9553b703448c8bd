"""Applying the topology, checking it, and how full queues are: for commands. It blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pika import exceptions

from worker.amqp.blocking import opened, queue_counts
from worker.amqp.broker_errors import AccessRefused, NotProvisioned, TopologyDiffers, mapped
from worker.amqp.topology import Exchange, Queue, Topology, declare_on

_MISSING = "is missing: run verification-worker topology apply"


def apply(url: str, topology: Topology) -> None:
    """Declare everything; what exists as it should stays as it is.

    Raises BrokerUnavailable, AccessRefused, and TopologyDiffers at the first difference.
    """
    with opened(url, "topology") as connection:
        declare_on(connection.channel(), topology)


def check(url: str, topology: Topology) -> list[str]:
    """Return a sentence for each queue or exchange that is missing or differs; [] is good.

    Existence is asked for passively. AMQP compares arguments only when it declares, so what exists
    is declared once more, which changes nothing. Bindings cannot be asked for over AMQP.
    Raises BrokerUnavailable, and AccessRefused for the connection.
    """
    with opened(url, "topology") as connection:
        found = [_difference(connection, one) for one in topology.objects]
    return [sentence for sentence in found if sentence]


def _difference(connection: Any, one: Exchange | Queue) -> str | None:
    name = f"{type(one).__name__.lower()} {one.name}"
    try:
        channel = connection.channel()  # one each: a failure costs the channel
        for passive in (True, False):
            one.declare(channel, passive=passive)
        channel.close()
    except exceptions.AMQPError as error:
        match mapped(error):
            case NotProvisioned():
                return f"{name} {_MISSING}"
            case TopologyDiffers(what=what):
                return f"{name} differs: {what}"
            case AccessRefused() as refused:
                return f"{name} cannot be checked: {refused}"
            case other:
                raise other from error
    return None


@dataclass(frozen=True, slots=True)
class Depth:
    """One queue. Both numbers are None where the broker does not say, and then `problem` is set.

    What is delivered and not acknowledged cannot be asked for over AMQP.
    """

    queue: str
    ready: int | None = None
    consumers: int | None = None
    problem: str | None = None


def depths(url: str, queues: Sequence[str]) -> list[Depth]:
    """Return each queue's depth, in their order.

    Raises InvalidUrl, BrokerUnavailable, and AccessRefused for the connection.
    """
    with opened(url, "status") as connection:
        return [_depth(connection, queue) for queue in queues]


def _depth(connection: Any, queue: str) -> Depth:
    try:
        return Depth(queue, *queue_counts(connection, queue))
    except exceptions.AMQPError as error:
        match mapped(error):
            case NotProvisioned():
                return Depth(queue, problem=_MISSING)
            case AccessRefused():
                return Depth(queue, problem="this user may not ask for it")
            case _:
                raise
