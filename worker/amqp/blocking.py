"""A command's connection to the broker, opened in one way. It blocks; one thread at a time.

It survives headers that pika cannot decode. When the broker takes no publications, in a memory or
disk alarm, it says so in the log and waits, for as long as the command can.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from worker.amqp.broker_errors import BrokerUnavailable, Unroutable, mapped
from worker.amqp.parameters import parameters
from worker.amqp.pika_connection import CLOSE_SECONDS, BlockingPikaConnection
from worker.amqp.properties import written_properties
from worker.core.delivery import Publication

# An alarm may last for hours: a person is told, not kept.
BLOCKED_SECONDS = 20.0


@contextmanager
def opened(
    url: str, role: str, blocked_seconds: float = BLOCKED_SECONDS
) -> Iterator[BlockingPikaConnection]:
    """Connect for one command, and close at the end; within, pika's errors become ours.

    `blocked_seconds` bound the wait for a broker that takes no publications.
    Raises InvalidUrl, BrokerUnavailable or AccessRefused, and within whatever `mapped` returns.
    """
    chosen = parameters(url, role)
    chosen.blocked_connection_timeout = blocked_seconds
    try:
        connection = BlockingPikaConnection(chosen)
    # The ValueError: it was reset in the instant in which it was established.
    except (exceptions.AMQPError, AMQPConnectorException, OSError, ValueError) as error:
        raise mapped(error) from error
    try:
        yield connection
    except exceptions.UnroutableError:
        raise Unroutable("no queue takes the message: run topology apply") from None
    except exceptions.NackError:
        raise BrokerUnavailable("the broker could not store the message") from None
    except exceptions.AMQPError as error:
        raise mapped(error) from error
    finally:
        # Whatever had to be safe was answered before: how this ends does not matter.
        with suppress(exceptions.AMQPError):
            connection.end(CLOSE_SECONDS)


def queue_counts(connection: Any, queue: str) -> tuple[int, int]:
    """Return how many messages wait in a queue and who consumes it; raises pika's errors.

    From RabbitMQ 4.3 on to ask needs the right to configure the queue.
    """
    channel = connection.channel()  # one each: a refusal costs the channel
    declared = channel.queue_declare(queue, passive=True).method
    channel.close()
    return declared.message_count, declared.consumer_count


class BlockingPublisher:
    """The `Publisher` of the ports for a command: `publish` returns when all is confirmed.

    So `on_confirmed` is called within it, and an error of the broker's is raised from it: what
    was published before is safe, of the one that failed nobody knows. About 1,500 a second.
    """

    blocked = False
    """A blocked broker is waited for, as long as the connection allows."""

    def __init__(self, connection: BlockingPikaConnection) -> None:
        self._channel: Any = connection.channel()
        self._channel.confirm_delivery()

    @property
    def connected(self) -> bool:
        """Whether the channel is open."""
        return bool(self._channel.is_open)

    def publish(
        self, publications: Sequence[Publication], on_confirmed: Callable[[], None]
    ) -> None:
        """Publish each and wait for its confirm, then call `on_confirmed`.

        `opened` says which errors end it: Unroutable is of a queue that is not there; an exchange
        that nobody is bound to has its alternate exchange.
        """
        for each in publications:
            self._channel.basic_publish(
                each.exchange,
                each.routing_key,
                each.body,
                written_properties(each),
                mandatory=True,
            )
        on_confirmed()

    def pass_on(self, exchange: str, routing_key: bytes, body: bytes, properties: Any) -> None:
        """Publish a message with the properties that it had, and wait for its confirm."""
        self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
