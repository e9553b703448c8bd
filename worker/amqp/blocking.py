"""Publishing that waits for each confirm, for the commands of a person. One thread at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pika
from pika import exceptions

from worker.amqp.broker_errors import BrokerUnavailable, Unroutable, mapped
from worker.amqp.parameters import parameters
from worker.amqp.pika_connection import PikaConnection
from worker.amqp.properties import written_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from worker.core.delivery import Publication

# A broker in a memory or disk alarm takes nothing and says so: a person is told, not kept.
BLOCKED_SECONDS = 20.0


@contextmanager
def opened(url: str, role: str) -> Iterator[Any]:
    """Connect for one command, and close at the end.

    Raises InvalidUrl, BrokerUnavailable or AccessRefused.
    """
    chosen = parameters(url, role)
    chosen.blocked_connection_timeout = BLOCKED_SECONDS
    with mapping():
        # pika means the argument for tests; `PikaConnection` survives headers that its decoder
        # raises on, and a dead-letter queue is where such messages collect.
        connection = pika.BlockingConnection(chosen, _impl_class=PikaConnection)
    try:
        yield connection
    finally:
        if connection.is_open:
            with mapping():
                connection.close()


@contextmanager
def mapping() -> Iterator[None]:
    """Let nothing of pika's out of this room."""
    try:
        yield
    except exceptions.UnroutableError:
        raise Unroutable("no queue takes the message: run topology apply") from None
    except exceptions.NackError:
        raise BrokerUnavailable("the broker could not store the message") from None
    except (exceptions.AMQPError, OSError) as error:
        raise mapped(error) from error


class BlockingPublisher:
    """The `Publisher` of the ports for a command: `publish` returns when all is confirmed.

    So `on_confirmed` is called within it, and an error of the broker's is raised from it: what
    was published before is safe, of the one that failed nobody knows. About 1,500 a second.
    """

    blocked = False
    """A blocked broker is waited for, and its connection ends after `BLOCKED_SECONDS`."""

    def __init__(self, connection: Any) -> None:
        with mapping():
            self._channel = connection.channel()
            self._channel.confirm_delivery()

    @property
    def connected(self) -> bool:
        """Whether the channel is open."""
        return bool(self._channel.is_open)

    def publish(
        self, publications: Sequence[Publication], on_confirmed: Callable[[], None]
    ) -> None:
        """Publish each and wait for its confirm, then call `on_confirmed`.

        Raises BrokerUnavailable, NotProvisioned, AccessRefused, and Unroutable for a queue that
        is not there; an exchange that nobody is bound to has its alternate exchange.
        """
        for each in publications:
            with mapping():
                self._channel.basic_publish(
                    each.exchange,
                    each.routing_key,
                    each.body,
                    written_properties(each),
                    mandatory=True,
                )
        on_confirmed()
