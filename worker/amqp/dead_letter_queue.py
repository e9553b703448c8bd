"""The dead letters, or the unrouted events, as a person's tools see them: held for a while.

At the end what is left stands there as it was.

A quorum queue cannot be looked at without taking: what a consumer took and did not acknowledge
counts as a return. So looking must be gentle:

- One channel takes everything without acknowledging, and is then closed. The broker puts back all
  that a closed channel held, in the order in which it stood and before what came later; after a
  kill -9 or a lost network it does the same. `basic.nack` would hand messages to our own consumer
  again before it is gone, and `basic.get` makes a consumer of each message, so that they come back
  in any order.
- A closed channel adds one to each message's count of deliveries, on every version from 3.10 on.
  The topology gives this queue a limit of its own, a million (`BROWSE_LIMIT`): the default of 4.x
  (20) would delete what was looked at 20 times, for behind this queue stands no other.
- Nobody else may hold them meanwhile: two tools would each see a part and take it for all. Quorum
  queues ignore the exclusive flag of a consumer (tried on 3.10), so the consumers are counted.
- Times to live go on from the first arrival, for a returned message too.
- Brokers close a channel that holds a message for 30 minutes (`consumer_timeout`): who needs
  longer lets go and takes hold again (`worker.deadletters.selecting`).
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import random
from typing import Any, Self

from pika import exceptions

from worker.amqp.blocking import BlockingPublisher, opened, queue_counts
from worker.amqp.broker_errors import AccessRefused, AmqpError, mapped
from worker.amqp.pika_connection import BlockingPikaConnection
from worker.amqp.properties import read_delivery
from worker.contract.internal import lane_of
from worker.contract.names import DEAD
from worker.core.delivery import Letter, Publication

# The most that AMQP's prefetch can say; of more dead letters than that the oldest are held.
MOST_HELD = 65_535

# After the broker has said that nothing is left, what it handed out may still be on its way: from
# another node of a cluster it comes on another way than that answer.
QUIET_SECONDS = 0.25

# By then the broker knows that a channel was closed, on a busy machine too.
LETTING_GO_SECONDS = 3.0

# Heartbeats are every 15 s, and two that are missed end the connection.
ALIVE_SECONDS = 5.0


class InUse(AmqpError):
    """Another tool holds the queue now."""


class HeldDeadLetters:
    """The dead letters while they are held: each is acknowledged, or put back at the end."""

    def __init__(
        self,
        connection: BlockingPikaConnection,
        publishing: BlockingPikaConnection,
        queue: str = DEAD,
    ) -> None:
        self._connections = (connection, publishing)
        self._queue = queue
        self._publisher = BlockingPublisher(publishing)
        self._arrived: deque[Letter] = deque()
        self._held = 0
        self._channel: Any = connection.channel()
        self._channel.basic_qos(prefetch_count=MOST_HELD)
        self._channel.basic_consume(queue, self._take)
        if _consumers(connection, queue) > 1:
            self.let_go()
            raise InUse(f"another tool holds {queue}")

    @property
    def all_seen(self) -> bool:
        """Whether no more stood in the queue than can be held at once."""
        return self._held < MOST_HELD

    def letters(self) -> Iterator[Letter]:
        """Yield the dead letters that stand there, the oldest first, and end after the last.

        Follow it to its end: what is left on its way may be put back in another order. Nothing is
        read from the broker between two letters, so that a long queue does not fill the memory.
        """
        while self._arrived or self._await_more():
            yield self._arrived.popleft()

    def publish(self, publication: Publication) -> None:
        """Publish this; when it returns, the broker has it safe."""
        self._publisher.publish((publication,), lambda: None)

    def pass_on(self, letter: Letter, exchange: str) -> None:
        """Publish a letter again as it came, under the key that its publisher named."""
        key, body = letter.origin[0].encode(errors="surrogateescape"), letter.delivery.body
        self._publisher.pass_on(exchange, key, body, letter.properties)

    def acknowledge(self, letter: Letter) -> None:
        """Take a letter out of the queue; it comes back if we die before the broker has read it."""
        self._channel.basic_ack(letter.delivery.tag)
        self._held -= 1

    def wait(self, seconds: float) -> None:
        """Let time pass, with the connections kept alive."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, ALIVE_SECONDS))
            for connection in self._connections:
                connection.process_data_events(0)

    def let_go(self) -> None:
        """Put back what is not acknowledged."""
        if self._channel.is_open:
            with suppress(AssertionError):  # interrupted: then the connection's end puts it back
                self._channel.close()

    def _take(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._held += 1
        headers = properties.headers or {}
        delivery = read_delivery(0, method, properties, body, lane=lane_of(headers))
        key = method.routing_key  # bytes where it is not UTF-8
        key = key.decode(errors="surrogateescape") if isinstance(key, bytes) else key
        self._arrived.append(Letter(delivery, headers, (key, properties.timestamp), properties))

    def _await_more(self) -> bool:
        """Wait for the next letters; False when none is left, or no more can be held."""
        connection, publishing = self._connections
        publishing.process_data_events(0)  # or its heartbeats stop where nothing is published
        connection.process_data_events(QUIET_SECONDS)
        if self._arrived or not self.all_seen:
            return bool(self._arrived)
        method, properties, body = self._channel.basic_get(self._queue)
        if method is not None:
            self._take(self._channel, method, properties, body)
            return True
        connection.process_data_events(QUIET_SECONDS)
        return bool(self._arrived)


class DeadLetterQueue:
    """A tool's way to the dead letters."""

    def __init__(
        self, taking: BlockingPikaConnection, publishing: BlockingPikaConnection, queue: str
    ) -> None:
        self._queue = queue
        # To wait for a confirm is to read, and what is read on the first one is letters.
        self._connections = (taking, publishing)

    @classmethod
    @contextmanager
    def opened(cls, url: str, queue: str = DEAD) -> Iterator[Self]:
        """Open it for a command; see `blocking.opened` for the errors."""
        with (
            opened(url, "dead-letters") as taking,
            opened(url, "dead-letters replay") as publishing,
        ):
            yield cls(taking, publishing, queue)

    def depth(self) -> int:
        """Return how many letters stand there. Raises AccessRefused where this user may not ask."""
        return queue_counts(self._connections[0], self._queue)[0]

    @contextmanager
    def hold(self) -> Iterator[HeldDeadLetters]:
        """Hold the dead letters; at the end all that were not acknowledged stand there again.

        Raises InUse where another tool holds them, NotProvisioned where there is no such queue,
        BrokerUnavailable.
        """
        held = None
        until = time.monotonic() + LETTING_GO_SECONDS
        while held is None:
            try:
                held = HeldDeadLetters(*self._connections, self._queue)
            except InUse:
                # The broker counts a tool that has let go for a moment longer, this one's too.
                if time.monotonic() > until:
                    raise
                # Two that begin at once see each other: not both should try again at once.
                time.sleep(QUIET_SECONDS * (1.0 + random()))  # noqa: S311  # no secret
        try:
            yield held
        finally:
            held.let_go()


def _consumers(connection: Any, queue: str) -> int:
    """Count who consumes a queue; 1 where this user may not ask: who may not must know."""
    try:
        return queue_counts(connection, queue)[1]
    except exceptions.ChannelClosedByBroker as refusal:
        if not isinstance(mapped(refusal), AccessRefused):
            raise
        return 1
