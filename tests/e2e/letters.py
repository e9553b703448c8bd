"""Dead letters as the worker, the broker and strangers make them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pika

from tests.e2e.harness import DEAD, REQUESTS, Stack

UNREADABLE = b'{"requestId": '


def put(
    stack: Stack,
    body: bytes | Mapping[str, Any],
    headers: Mapping[str, Any] | None = None,
    **properties: Any,
) -> None:
    """Put one message into the dead-letter queue, with the headers of a dead letter."""
    ours = {
        "reason": "provider_unavailable",
        "attempts": 4,
        "firstSeen": "2026-11-27T08:00:00.000Z",
        "lastError": "unavailable",
    }
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    stack.channel.basic_publish(
        "",
        DEAD,
        raw,
        pika.BasicProperties(delivery_mode=2, headers={**ours, **(headers or {})}, **properties),
        mandatory=True,
    )


def bodies(stack: Stack, queue: str = DEAD) -> list[bytes]:
    """Take all messages out of a queue and return their bodies, in their order."""
    return [body for _, _, body in stack.take(queue)]


def listed(stack: Stack, *filters: str) -> list[dict[str, Any]]:
    """Return what `list --json` says."""
    rows: list[dict[str, Any]] = stack.document("dead-letters", "list", *filters)
    return rows


def reject_by_broker(stack: Stack) -> None:
    """Let the broker dead-letter what waits in the requests queue, as at the delivery limit."""
    while (found := stack.channel.basic_get(REQUESTS))[0] is not None:
        stack.channel.basic_nack(found[0].delivery_tag, requeue=False)
