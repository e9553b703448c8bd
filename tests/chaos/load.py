"""A load that lasts while something breaks, and what must hold when it is over."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pika
import pika.exceptions

from tests.chaos.invariants import finish
from tests.e2e.harness import Process, Stack, request, until

# A broker that restarts refuses connections for 5 s.
_RECONNECT_SECONDS = 0.5

# At 0.12 s a call, 66 messages a second: more is with the broker than with the worker.
LATENCY = 0.12
PACE = {"CONCURRENCY": "8", "PREFETCH": "64"}

# So many are still to be done when something breaks: seven seconds' work, for a test that stands
# still meanwhile. What is left in the end is called without a delay.
AHEAD = 500


def under_load(stack: Stack, **settings: str) -> tuple[Load, Process]:
    """Start a load and a worker that takes its time; return when the load is under way."""
    load = Load(stack)
    worker = stack.start_worker(**{**PACE, **settings})
    load.under_way(50)
    return load, worker


class Load:
    """Requests for matches, so many published at once; the worker has them for seconds."""

    def __init__(self, stack: Stack, size: int = 150, name: str = "chaos") -> None:
        self.stack = stack
        self.name = name
        self.ids: list[str] = []
        stack.provider.play(latency=LATENCY)
        self.grow(size)

    def grow(self, size: int) -> None:
        """Publish so many requests more."""
        more = [f"{self.name}-{len(self.ids) + number}" for number in range(size)]
        self.ids += more
        self.stack.publish_many(map(request, more))

    def under_way(self, rows: int) -> None:
        """Return when so many requests more have their outcome; the load does not run out."""
        wanted = self.stack.count() + rows

        def are_done() -> bool:
            done = self.stack.count()
            if len(self.ids) - done < AHEAD:
                self.grow(AHEAD)
            return done >= wanted

        until(are_done)

    def all_is_counted(self, *workers: Process) -> None:
        """Wait until all have their outcome; stop the workers, and find nothing lost or paid twice.

        The provider was well and no worker was killed: each request is one call and one charge.
        """
        stack, size = self.stack, len(self.ids)
        stack.provider.play()
        accounts = finish(stack, self.ids, *workers)
        assert accounts.count("match") == size
        assert accounts.dead == []
        assert stack.depth("verification.unrouted") == 0
        assert all(row["event_sent_at"] for row in accounts.results.values())
        assert accounts.charges["charges"] == accounts.charges["calls"] == stack.count("calls")
        assert stack.count("calls") == size


class Sender:
    """Publishes each message until it is confirmed, over any failure of the broker."""

    def __init__(self, url: str) -> None:
        self.setbacks = 0
        """Refused publications and lost connections; what they hit was published again."""
        self.given_up = threading.Event()
        """Once it is set, a setback is the end."""
        self._parameters = pika.URLParameters(url)
        self._connection: Any = None
        self._channel: Any = None

    def send(self, exchange: str, body: bytes) -> None:
        """Return when it is confirmed: it may be in the queue twice then."""
        properties = pika.BasicProperties(delivery_mode=2)
        while True:
            try:
                if self._channel is None:
                    self._connection = pika.BlockingConnection(self._parameters)
                    self._channel = self._connection.channel()
                    self._channel.confirm_delivery()
                self._channel.basic_publish(exchange, "test", body, properties, mandatory=True)
            except (pika.exceptions.AMQPError, OSError):
                self.close()
                self.setbacks += 1
                if self.given_up.wait(_RECONNECT_SECONDS):
                    return
            else:
                return

    def close(self) -> None:
        """Close its connection, which a refused publication leaves open."""
        if self._connection is not None and self._connection.is_open:
            with suppress(pika.exceptions.AMQPError, OSError):
                self._connection.close()
        self._connection = self._channel = None


def times_said(worker: Process, event: str) -> int:
    """Count a worker's lines about an event, those about the bulk lane left out."""
    return sum(f'"{event}"' in line and "bulk" not in line for line in worker.lines)


def consumes_again(worker: Process, times: int = 2) -> None:
    """Return when the worker has said for so many times that it consumes."""
    until(lambda: times_said(worker, "amqp.consuming") >= times)


def loses_connections(worker: Process, times: int) -> None:
    """Return when the worker has lost a connection, or failed to get one, for so many times."""
    until(lambda: times_said(worker, "amqp.connection_lost") >= times)
