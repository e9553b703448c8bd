"""What `submit` does: publish requests, take their results meanwhile; and `tail`. It blocks.

Confirms are pipelined: many requests are under way at a time. A connection that is lost ends it:
whoever called knows what has its result, and gives the others again.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from worker.amqp.blocking import opened
from worker.amqp.broker_errors import BrokerUnavailable, Unroutable
from worker.amqp.delivery_tags import Confirms
from worker.amqp.pika_connection import BlockingPikaConnection
from worker.amqp.properties import written_properties
from worker.contract.names import REQUESTS, RESULTS
from worker.core.delivery import Publication

# The request's routing key: the queue is bound with `#`, so any will do; this one says who it was.
_ROUTING_KEY = "submit"
# Bytes of a short string of AMQP; an id of 128 characters may have 512.
_LONGEST_ID = 255
# Unconfirmed publications. The broker confirms in batches of some dozens, so this keeps it busy,
# and is at most so many messages of memory.
WINDOW = 256
# Where nobody waits for results, only confirms can fail to come.
CONFIRM_SECONDS = 60.0
# Between looks at the clock.
_TICK = 0.2
# How long a queue of results is kept for who is gone.
_LEFT_BEHIND_MS = 86_400_000
# Rows that are taken before the broker is listened to; those that need no request cost no confirm.
_TURN = 256


def publish_requests(
    url: str,
    requests: Iterator[bytes | None],
    on_result: Callable[[bytes], None],
    awaited: Callable[[], int],
    timeout: float,
    *,
    message_id: str | None = None,
    exchange: str = REQUESTS,
) -> None:
    """Return when all requests are confirmed and all results are there.

    `requests` yields their bodies; None where a turn was taken and there is nothing to publish.
    `on_result` takes a result event, which may be a repeat. `awaited` says how many requests that
    were published have no result yet: some, where no result has come for `timeout` seconds. With 0
    no results are waited for. `message_id` is the requests' own.
    Raises InvalidUrl, AccessRefused, NotProvisioned, Unroutable, and BrokerUnavailable, also where
    a confirm does not come in that time: then nobody knows, and the same again is harmless.
    """
    patience = timeout if timeout > 0 else CONFIRM_SECONDS
    results_key = f"submit.{secrets.token_hex(8)}" if timeout > 0 else None
    with opened(url, "submit", patience) as connection:
        _Exchange(connection, requests, on_result, awaited, results_key, message_id, exchange).run(
            patience
        )


def publish_request(url: str, body: bytes, timeout: float, message_id: str) -> bytes | None:
    """Publish one request; return its result event, or None, as `publish_requests` does.

    Of its `message_id` the beginning, where AMQP does not carry it whole.
    """
    came: list[bytes] = []
    carried = message_id.encode()[:_LONGEST_ID].decode(errors="ignore")
    publish_requests(url, iter([body]), came.append, lambda: not came, timeout, message_id=carried)
    return came[-1] if came else None


@dataclass
class _Exchange:
    """Requests on their way out and results on their way in, over one channel."""

    connection: BlockingPikaConnection
    requests: Iterator[bytes | None]
    on_result: Callable[[bytes], None]
    awaited: Callable[[], int]
    results_key: str | None
    message_id: str | None
    exchange: str

    def __post_init__(self) -> None:
        self._confirms: Confirms[None] = Confirms()
        self._exhausted = False
        self._refused = False
        self._heard_at = time.monotonic()
        self._queue: str | None = None
        self._channel: Any = self.connection.channel()
        self._channel.add_on_return_callback(_returned)
        self._publish = self.connection.in_background(self._channel, self._answered)
        if self.results_key is not None:
            # Bound before the first request leaves. Where we are interrupted, it takes the results
            # that are still to come, or each would be an unrouted event for an operator to see.
            expires = {"x-expires": _LEFT_BEHIND_MS}
            self._queue = self._channel.queue_declare(
                "", durable=True, arguments=expires
            ).method.queue
            self._channel.queue_bind(self._queue, RESULTS, self.results_key)
            self._channel.basic_consume(self._queue, self._received, auto_ack=True)

    def run(self, patience: float) -> None:
        while not self._is_complete():
            if is_publishing := self._can_publish:
                with self.connection.corked():
                    self._publish_some()
            self.connection.listen(self._channel, 0 if self._can_publish else _TICK)
            if self._refused:
                raise BrokerUnavailable("the broker could not store a request")
            # Finding what is to be published may take long, and is no silence of the broker's.
            # While that is blocked, the connection's own bound is the one.
            if is_publishing or self.connection.blocked:
                self._heard_at = time.monotonic()
            elif time.monotonic() - self._heard_at > patience:
                if self._confirms or not self._exhausted:
                    raise BrokerUnavailable("no confirm came in time")
                return
        if self._queue is not None:
            self._channel.queue_delete(self._queue)

    @property
    def _can_publish(self) -> bool:
        return not (self._exhausted or self._is_full or self.connection.blocked)

    @property
    def _is_full(self) -> bool:
        return len(self._confirms) >= WINDOW

    def _is_complete(self) -> bool:
        waits = self.results_key is not None and self.awaited()
        return self._exhausted and not self._confirms and not waits

    def _publish_some(self) -> None:
        for _ in range(_TURN):
            if self._is_full:
                return
            try:
                body = next(self.requests)
            except StopIteration:
                self._exhausted = True
                return
            if body is not None:
                self._publish_one(body)

    def _publish_one(self, body: bytes) -> None:
        request = Publication(
            self.exchange, _ROUTING_KEY, body, self.message_id, reply_to=self.results_key
        )
        properties = written_properties(request)
        self._publish(self.exchange, _ROUTING_KEY, body, properties, mandatory=True)
        self._confirms.sent(None)

    def _answered(self, method: Any) -> None:
        self._confirms.take(method.delivery_tag, multiple=method.multiple)
        self._heard_at = time.monotonic()
        self._refused |= method.NAME != "Basic.Ack"

    def _received(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        self._heard_at = time.monotonic()
        self.on_result(body)


def _returned(_channel: Any, method: Any, *_: object) -> None:
    raise Unroutable(f"no queue is bound to the exchange {method.exchange}")


# Of a reader that does not keep up the oldest copies go: it must not fill the broker.
_KEPT_EVENTS = 10_000
# Enough to keep a terminal busy.
_PREFETCH = 100


def events(url: str, is_listening: Callable[[], None]) -> Iterator[bytes]:
    """Yield the bodies of result events, without an end; `is_listening` is called before them.

    They come from a queue of its own, exclusive and gone with the connection. As long as it is
    there, an event that nobody else is bound for is routed, and so not kept in
    `verification.unrouted`.
    Raises what `opened` raises.
    """
    with opened(url, "tail") as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=_PREFETCH)
        queue = channel.queue_declare(
            "", exclusive=True, auto_delete=True, arguments={"x-max-length": _KEPT_EVENTS}
        ).method.queue
        channel.queue_bind(queue, RESULTS, "#")
        is_listening()
        for method, _properties, body in channel.consume(queue, exclusive=True):
            yield body
            channel.basic_ack(method.delivery_tag)
