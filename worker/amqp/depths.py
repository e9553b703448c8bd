"""How full queues are, by passive declarations. It blocks; for commands of a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pika import exceptions

from worker.amqp.broker_errors import AccessRefused, BrokerUnavailable, NotProvisioned, mapped
from worker.amqp.declare import connected

if TYPE_CHECKING:
    from collections.abc import Sequence


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

    From RabbitMQ 4.3 on a user needs the right to configure a queue to ask for it.
    Raises InvalidUrl, BrokerUnavailable, and AccessRefused for the connection.
    """
    with connected(url, "status") as connection:
        return [_depth(connection, queue) for queue in queues]


def _depth(connection: Any, queue: str) -> Depth:
    try:
        channel = connection.channel()  # one each: a failure costs the channel
        declared = channel.queue_declare(queue, passive=True).method
        channel.close()
    except exceptions.AMQPError as error:
        match mapped(error):
            case NotProvisioned():
                advice = "run verification-worker topology apply"
                return Depth(queue, problem=f"is missing: {advice}")
            case AccessRefused():
                return Depth(queue, problem="this user may not ask for it")
            case BrokerUnavailable() as lost:
                raise lost from error
            case other:
                return Depth(queue, problem=type(other).__name__)
    return Depth(queue, declared.message_count, declared.consumer_count)
