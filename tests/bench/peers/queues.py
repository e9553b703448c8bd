"""What a publisher must know of each peer: its queues, and its messages. Imports no framework."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pika

QUORUM = {"x-queue-type": "quorum"}
DRAMATIQ_ACTOR = "verify"

# Dramatiq's own default: it keeps dead messages for a week, in milliseconds.
_DRAMATIQ_DEAD_TTL = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class PeerQueue:
    """One peer's side of the broker.

    `declare(channel)` declares its queues exactly as the peer does itself, on a pika blocking
    channel. `message(request)` returns the routing key on the default exchange, the body and the
    properties of a request as the framework would send it.
    """

    queue: str
    encode: Callable[[str, dict[str, Any]], tuple[bytes, pika.BasicProperties]]
    declare: Callable[[Any], None]

    def message(self, request: dict[str, Any]) -> tuple[str, bytes, pika.BasicProperties]:
        """Return a request in the framework's format."""
        return (self.queue, *self.encode(self.queue, request))


def _json(queue: str, request: dict[str, Any]) -> tuple[bytes, pika.BasicProperties]:
    del queue
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        message_id=request["requestId"],
        correlation_id=request["requestId"],
    )
    return json.dumps(request).encode(), properties


def _dramatiq(queue: str, request: dict[str, Any]) -> tuple[bytes, pika.BasicProperties]:
    message = {
        "queue_name": queue,
        "actor_name": DRAMATIQ_ACTOR,
        "args": [request],
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": int(time.time() * 1000),
    }
    body = json.dumps(message, separators=(",", ":")).encode()
    return body, pika.BasicProperties(delivery_mode=2)


def _declare(queue: str) -> Callable[[Any], None]:
    def declare(channel: Any) -> None:
        channel.queue_declare(queue, durable=True, arguments=QUORUM)

    return declare


def _declare_dramatiq(channel: Any) -> None:
    """Declare its three: the queue, its delayed messages, and its dead ones (a classic queue)."""
    queue = "peer.dramatiq"
    arguments = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{queue}.XQ",
        **QUORUM,
    }
    for name in (queue, f"{queue}.DQ"):
        channel.queue_declare(name, durable=True, arguments=arguments)
    dead = {"x-message-ttl": _DRAMATIQ_DEAD_TTL}
    channel.queue_declare(f"{queue}.XQ", durable=True, arguments=dead)


PEERS = {
    "dramatiq_worker": PeerQueue("peer.dramatiq", _dramatiq, _declare_dramatiq),
    "pika_threads": PeerQueue("peer.pika", _json, _declare("peer.pika")),
    "raw_asyncio": PeerQueue("peer.asyncio", _json, _declare("peer.asyncio")),
}
"""By the module's name."""
