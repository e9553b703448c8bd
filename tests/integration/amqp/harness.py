"""What the tests of the broker's room share: a sink, a log to wait on, a bare client."""

import json
import re
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import pika
import pika.data
import structlog

from local_broker import Broker
from local_management import Management
from local_programs import program
from tests.e2e.harness import until
from worker.amqp.session import Session
from worker.amqp.topology import topology
from worker.contract.names import REQUESTS
from worker.core.delivery import Delivery, Publication, Settlement
from worker.core.request import Lane

TOPOLOGY = topology((5, 1800), 14)

# Reconnecting waits up to 1, 2, 4 s and a broker restarts in 5 to 7 s, on a machine that is busy.
PATIENCE = 60.0

_OF_LIVE = "verification-worker (consume|publish) "
_ALARM = "{resource_limit, memory, node()}"


class Watched:
    """Something that threads change and a test waits on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def wait_for(self, what: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Wait until `what` is true; it is looked at after each change."""
        with self._changed:
            assert self._changed.wait_for(what, timeout), "it did not happen"

    def change(self, how: Callable[[], None]) -> None:
        """Change something under the lock and wake who waits."""
        with self._changed:
            how()
            self._changed.notify_all()


class Log(Watched):
    """The structured log lines, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def __call__(self, _logger: object, _method: str, line: Any) -> Any:
        """Keep the line, as structlog's only processor."""
        self.change(lambda: self.lines.append(dict(line)))
        raise structlog.DropEvent

    def wait_for_line(self, event: str, times: int = 1, **values: object) -> dict[str, Any]:
        """Wait for the nth line with this event and these values, and return it."""
        try:
            self.wait_for(lambda: len(self._matching(event, values)) >= times)
        except AssertionError:
            raise AssertionError(f"no {event} {values}, but {self.lines}") from None
        return self._matching(event, values)[-1]

    def _matching(self, event: str, values: dict[str, object]) -> list[dict[str, Any]]:
        wanted = {"event": event, **values}
        return [line for line in self.lines if wanted.items() <= line.items()]


class Collector(Watched):
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []
        self.finished: list[Settlement] = []
        self.returned_epochs: list[int] = []

    def deliver(self, delivery: Delivery) -> None:
        """Keep it."""
        self.change(lambda: self.deliveries.append(delivery))

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Keep them."""
        self.change(lambda: self.finished.extend(settlements))

    def returned(self, epoch: int, _lane: Lane = Lane.LIVE) -> None:
        """Keep it."""
        self.change(lambda: self.returned_epochs.append(epoch))

    def wait_for_deliveries(self, count: int) -> list[Delivery]:
        """Wait for at least so many, and return all there are."""
        self.wait_for(lambda: len(self.deliveries) >= count)
        return list(self.deliveries)

    def wait_for_settled(self, count: int) -> list[Settlement]:
        """Wait for at least so many, and return all there are."""
        self.wait_for(lambda: len(self.finished) >= count)
        return list(self.finished)


class Answering(Collector):
    """A sink that has every delivery settled at once."""

    def __init__(self, session: Session, answer: Callable[[Delivery], Settlement]) -> None:
        super().__init__()
        self._session = session
        self._answer = answer

    def deliver(self, delivery: Delivery) -> None:
        """Keep it and settle it."""
        super().deliver(delivery)
        self._session.settle([self._answer(delivery)])


def ids(count: int) -> list[str]:
    return [f"m-{number}" for number in range(count)]


def answered(delivery: Delivery, exchange: str, routing_key: str) -> Settlement:
    publication = Publication(
        exchange, routing_key, b'{"outcome":"match"}', message_id=delivery.message_id
    )
    return Settlement(delivery, (publication,))


def acknowledged(delivery: Delivery) -> Settlement:
    return Settlement(delivery, ())


class Bare:
    """A plain blocking client, to look at the broker from outside."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self._connection.channel()
        self.channel.confirm_delivery()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def publish(
        self,
        ids: Iterable[str],
        body: bytes = b"{}",
        exchange: str = "",
        routing_key: str = REQUESTS,
        **properties: Any,
    ) -> None:
        """Publish one message for each id, confirmed; requests, unless it is said otherwise."""
        for one in ids:
            properties_of_it = pika.BasicProperties(message_id=one, **properties)
            self.channel.basic_publish(exchange, routing_key, body, properties_of_it, True)

    def count(self, queue: str) -> int:
        """Return how many messages are ready."""
        count: int = self.channel.queue_declare(queue, passive=True).method.message_count
        return count

    def take_all(self, queue: str, count: int = 0) -> list[tuple[str, bool]]:
        """Take what is ready: the id of each, and whether it was delivered before.

        At least so many are waited for: what was held by who is gone comes back a moment later.
        """
        until(lambda: self.count(queue) >= count)
        taken: list[tuple[str, bool]] = []
        while True:
            method, properties, _ = self.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return taken
            taken.append((properties.message_id, method.redelivered))

    def declare(self, queue: str) -> None:
        """Declare one queue as the topology has it."""
        one = next(one for one in TOPOLOGY.queues if one.name == queue)
        self.channel.queue_declare(queue, durable=True, arguments=dict(one.arguments))


UNDECODABLE = object()
"""A header's value: a time that RabbitMQ passes on and Python's datetime does not know."""


@contextmanager
def undecodable_headers() -> Iterator[None]:
    """Let pika write headers with the value `UNDECODABLE`."""
    usual = pika.data.encode_value

    def encode(pieces: list[bytes], value: object) -> int:
        if value is not UNDECODABLE:
            written: int = usual(pieces, value)
            return written
        pieces.append(struct.pack(">cQ", b"T", 2**60))
        return 9

    with patch("pika.data.encode_value", encode):
        yield


def evaluate(broker: Broker, expression: str) -> str:
    """Have the node evaluate an Erlang expression: what no API offers, without a second Erlang."""
    cookie = (broker.directory / ".erlang.cookie").read_text()
    done = subprocess.run(
        [program("erl_call"), "-sname", broker.node_name, "-c", cookie, "-e"],
        env=broker._environment(),
        input=f"{expression}.\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip().removeprefix("{ok, ").removesuffix("}")


@contextmanager
def memory_alarm(broker: Broker) -> Iterator[None]:
    """Raise the alarm by which a node that runs out of memory takes no publications."""
    evaluate(broker, f"rabbit_alarm:set_alarm({{{_ALARM}, []}})")
    try:
        yield
    finally:
        evaluate(broker, f"rabbit_alarm:clear_alarm({_ALARM})")


def worker_connections(management_url: str, amqp_url: str) -> list[str]:
    """Return the names of live's two connections to a vhost, once they are listed."""
    vhost = urlsplit(amqp_url).path.removeprefix("/")
    while True:
        names = [
            one["name"]
            for one in _call(management_url, f"/api/vhosts/{vhost}/connections")
            if re.match(_OF_LIVE, one["client_properties"].get("connection_name", ""))
        ]
        if len(names) == 2:
            return names
        threading.Event().wait(0.05)  # the management interface learns of them a second late


def cut(management_url: str, connections: Iterable[str]) -> None:
    for name in connections:
        _call(management_url, f"/api/connections/{quote(name, safe='')}", "DELETE")


def _call(management_url: str, path: str, method: str = "GET") -> Any:
    body = Management(management_url)._call(method, path)
    return json.loads(body) if body else None
