"""A person's client for many requests: confirms are pipelined, results come meanwhile. It blocks.

One thread, one connection, one loop; everything below runs within `run`. A connection that is lost
ends it: whoever called knows what has its result, and gives the others again.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from pika.adapters.select_connection import IOLoop

from worker.amqp.broker_errors import AmqpError, BrokerUnavailable, Unroutable, mapped
from worker.amqp.delivery_tags import Confirms
from worker.amqp.parameters import parameters
from worker.amqp.pika_connection import IoServices, PikaConnection
from worker.amqp.properties import written_properties
from worker.contract.names import REQUESTS, RESULTS
from worker.core.delivery import Publication

if TYPE_CHECKING:
    from collections.abc import Iterator

# As `submit` of a single request: the queue is bound with `#`, so any key will do.
_ROUTING_KEY = "submit"
# Unconfirmed publications. The broker confirms in batches of some dozens, so this keeps it busy,
# and is at most so many messages of memory.
WINDOW = 256
# Between looks at the clock, and at a keyboard's interrupt.
_TICK = 0.2
# An orderly close is a round trip.
_CLOSE_SECONDS = 2.0
# Rows that are taken in one turn of the loop; those that need no request cost no confirm.
_TURN = 256


class Batch(Protocol):
    """Where requests come from and results go."""

    def requests(self) -> Iterator[bytes | None]:
        """Yield request bodies; None where a turn was taken and there is nothing to publish."""
        ...

    def result(self, body: bytes) -> None:
        """Take one result event; it may be a repeat."""
        ...

    @property
    def awaited(self) -> int:
        """How many requests that were published have no result yet."""
        ...


class BulkClient:
    """Publishes a batch and takes its results. `results_key` None: it does not wait for any."""

    def __init__(self, url: str, results_key: str | None) -> None:
        self._url = url
        self._results_key = results_key

    def run(self, batch: Batch, timeout: float) -> None:
        """Return when all requests are confirmed and all results are there.

        Or when neither a confirm nor a result has come for `timeout` seconds: `batch.awaited` says
        so. Raises InvalidUrl, BrokerUnavailable, AccessRefused, NotProvisioned, Unroutable.
        """
        _Run(self._url, self._results_key, batch, timeout).run()


class _Run:
    def __init__(self, url: str, results_key: str | None, batch: Batch, timeout: float) -> None:
        self._results_key = results_key
        self._batch = batch
        self._requests = batch.requests()
        self._timeout = timeout
        self._ioloop = IOLoop()
        self._confirms: Confirms[None] = Confirms()
        self._channel: Any = None
        self._arrived: deque[bytes] = deque()
        self._exhausted = False
        self._turn_is_due = False
        self._heard_at = time.monotonic()
        self._failure: AmqpError | None = None
        self._ended = False
        self._wire = PikaConnection(
            parameters(url, "submit"),
            on_open_callback=self._opened,
            on_open_error_callback=self._lost,
            on_close_callback=self._lost,
            custom_ioloop=IoServices(self._ioloop),
        )

    def run(self) -> None:
        self._ioloop.call_later(_TICK, self._tick)
        try:
            self._ioloop.start()
        finally:
            if self._wire.is_open:
                self._wire.cut()
            self._ioloop.close()
        if self._failure is not None:
            raise self._failure

    def _opened(self, wire: Any) -> None:
        wire.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        channel.add_on_close_callback(self._lost)
        channel.add_on_return_callback(self._returned)
        # Each order is sent in turn, and the broker answers in turn: results cannot come too early.
        channel.confirm_delivery(self._answered)
        if self._results_key is None:
            self._begin(channel)
        else:
            # Ours alone and gone with us; bound before the first request leaves.
            channel.queue_declare(
                "", exclusive=True, auto_delete=True, callback=lambda f: self._bind(channel, f)
            )

    def _bind(self, channel: Any, frame: Any) -> None:
        queue = frame.method.queue
        channel.queue_bind(queue, RESULTS, self._results_key)
        channel.basic_consume(
            queue, self._received, auto_ack=True, callback=lambda _frame: self._begin(channel)
        )

    def _begin(self, channel: Any) -> None:
        self._channel = channel
        self._heard_at = time.monotonic()
        self._soon()

    def _soon(self) -> None:
        """Take a turn on a timer: pika would swallow what the batch raises within its callbacks."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._ioloop.call_later(0, self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._ended:
            return
        while self._arrived:
            self._batch.result(self._arrived.popleft())
        with self._wire.corked():
            for _ in range(_TURN):
                if self._exhausted or len(self._confirms) >= WINDOW:
                    break
                self._publish_next()
        if not self._exhausted and len(self._confirms) < WINDOW:
            self._soon()  # and let the loop answer a heartbeat in between
        waits = self._results_key is not None and self._batch.awaited
        if self._exhausted and not self._confirms and not waits:
            self._end(None)

    def _publish_next(self) -> None:
        try:
            body = next(self._requests)
        except StopIteration:
            self._exhausted = True
            return
        if body is None:
            return
        request = Publication(REQUESTS, _ROUTING_KEY, body, reply_to=self._results_key)
        properties = written_properties(request)
        self._channel.basic_publish(REQUESTS, _ROUTING_KEY, body, properties, mandatory=True)
        self._confirms.sent(None)

    def _answered(self, frame: Any) -> None:
        method = frame.method
        self._confirms.take(method.delivery_tag, multiple=method.multiple)
        self._heard_at = time.monotonic()
        if method.NAME != "Basic.Ack":
            self._end(BrokerUnavailable("the broker could not store a request"))
        else:
            self._soon()

    def _received(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        self._heard_at = time.monotonic()
        self._arrived.append(body)
        self._soon()

    def _returned(self, *_: object) -> None:
        self._end(Unroutable(f"no queue is bound to the exchange {REQUESTS}"))

    def _lost(self, _where: object, reason: BaseException) -> None:
        if not self._ended:
            self._ended, self._failure = True, mapped(reason)
        self._ioloop.stop()

    def _tick(self) -> None:
        if self._ended:
            self._ioloop.stop()  # the broker did not answer to `close`
        elif time.monotonic() - self._heard_at > self._timeout:
            self._end(None if self._exhausted else BrokerUnavailable("no answer in time"))
        self._ioloop.call_later(_CLOSE_SECONDS if self._ended else _TICK, self._tick)

    def _end(self, failure: AmqpError | None) -> None:
        if not self._ended:
            self._ended, self._failure = True, failure
            if self._wire.is_open:
                self._wire.close()
            else:
                self._ioloop.stop()
