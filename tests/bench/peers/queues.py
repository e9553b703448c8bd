"""What a publisher must know of each peer: its queues, and its messages. Imports no framework."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

import pika

QUORUM = {"x-queue-type": "quorum"}
DRAMATIQ_ACTOR = "verify"

# Dramatiq's own default: it keeps dead messages for a week, in milliseconds.
_DRAMATIQ_DEAD_TTL = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class PeerQueue:
    """One peer's side of the broker."""

    queue: str

    def declare(self, channel: Any) -> None:
        """Declare its queues exactly as the peer does itself, on a pika blocking channel."""
        channel.queue_declare(self.queue, durable=True, arguments=QUORUM)

    def message(self, request: dict[str, Any]) -> tuple[str, bytes, pika.BasicProperties]:
        """Return a request as the framework would send it.

        The routing key on the default exchange, the body and the properties.
        """
        name = request["requestId"]
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=name, correlation_id=name
        )
        return self.queue, json.dumps(request).encode(), properties


class DramatiqQueue(PeerQueue):
    """Dramatiq's, whose messages are calls of an actor."""

    def declare(self, channel: Any) -> None:
        """Declare three: the queue, its delayed messages, and its dead ones (a classic queue)."""
        dead = f"{self.queue}.XQ"
        routing = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        for name in (self.queue, f"{self.queue}.DQ"):
            channel.queue_declare(name, durable=True, arguments={**routing, **QUORUM})
        channel.queue_declare(dead, durable=True, arguments={"x-message-ttl": _DRAMATIQ_DEAD_TTL})

    def message(self, request: dict[str, Any]) -> tuple[str, bytes, pika.BasicProperties]:
        """Return a call of the actor with the request."""
        message = {
            "queue_name": self.queue,
            "actor_name": DRAMATIQ_ACTOR,
            "args": [request],
            "kwargs": {},
            "options": {},
            "message_id": str(uuid.uuid4()),
            "message_timestamp": int(time.time() * 1000),
        }
        body = json.dumps(message, separators=(",", ":")).encode()
        return self.queue, body, pika.BasicProperties(delivery_mode=2)


PEERS = {
    "dramatiq_worker": DramatiqQueue("peer.dramatiq"),
    "pika_threads": PeerQueue("peer.pika"),
    "raw_asyncio": PeerQueue("peer.asyncio"),
}
"""By the module's name."""
