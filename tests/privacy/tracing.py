"""What RabbitMQ tells: its management API, and its firehose, a copy of every message published."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pika

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRACE = "amq.rabbitmq.trace"
_COPIES = "copies"
# Where the people of the proof publish; everything else is published by the worker and its tools.
_FROM_PEOPLE = "verification.requests"
_PAGES = ("overview", "connections", "channels", "consumers", "queues", "exchanges", "bindings",
          "definitions", "vhosts", "policies", "parameters")  # fmt: skip


class Manager:
    """The management API."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        pair = f"{parts.username}:{parts.password}".encode()
        self._authorization = f"Basic {base64.b64encode(pair).decode()}"

    def trace(self, vhost: str) -> None:
        """Turn the firehose of a vhost on."""
        self._ask("PUT", f"vhosts/{quote(vhost, safe='')}", {"tracing": True})

    def pages(self) -> Iterator[tuple[str, bytes]]:
        """Yield all that it says of itself, page by page."""
        for page in _PAGES:
            yield page, self._ask("GET", page)

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        order = urllib.request.Request(
            f"{self._base}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self._authorization, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(order, timeout=30.0) as answer:
            content: bytes = answer.read()
            return content


class Firehose:
    """Copies of what is published in one vhost, kept in a queue until somebody looks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.events: list[bytes] = []
        """Result events, whole: body, properties, headers, routing key."""
        self.others: list[bytes] = []
        """Headers of retries, dead letters and replays, and their way.

        Body and ids of these are the message as its publisher sent it.
        """
        connection, channel = self._channel()
        channel.queue_declare(_COPIES, durable=True)
        channel.queue_bind(_COPIES, _TRACE, "publish.#")
        connection.close()

    def look(self) -> None:
        """Take what has come."""
        connection, channel = self._channel()
        while (found := channel.basic_get(_COPIES, auto_ack=True))[0] is not None:
            _, properties, body = found
            exchange = properties.headers["exchange_name"]
            about = properties.headers
            if exchange == "verification.results":
                self.events.append(b"\n".join((*texts(about), body)))
            elif exchange != _FROM_PEOPLE:
                ours = (about["routing_keys"], about["properties"].get("headers", {}))
                self.others.append(b"\n".join(texts(list(ours))))
        connection.close()

    def _channel(self) -> tuple[Any, Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self._url))
        return connection, connection.channel()


def texts(value: object) -> Iterator[bytes]:
    """Yield every name and value of what AMQP or JSON can nest, as bytes."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from texts(name)
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, bytes):
        yield value
    else:
        yield str(value).encode("utf-8", "surrogatepass")
