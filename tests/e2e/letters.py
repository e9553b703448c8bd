"""Dead letters as the worker, the broker and strangers make them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pika

from tests.e2e.harness import DEAD, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.harness import House

UNREADABLE = b'{"requestId": '


def put(
    house: House,
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
    house.channel.basic_publish(
        "",
        DEAD,
        raw,
        pika.BasicProperties(delivery_mode=2, headers={**ours, **(headers or {})}, **properties),
        mandatory=True,
    )


def bodies(house: House, queue: str = DEAD) -> list[bytes]:
    """Take all messages out of a queue and return their bodies, in their order."""
    return [body for _, _, body in house.take(queue)]


def listed(house: House, *filters: str) -> list[dict[str, Any]]:
    """Return what `list --json` says."""
    done = house.command("dead-letters", "list", "--json", *filters)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def reject_by_broker(house: House) -> None:
    """Let the broker dead-letter what waits in the requests queue, as at the delivery limit."""
    while (found := house.channel.basic_get(REQUESTS))[0] is not None:
        house.channel.basic_nack(found[0].delivery_tag, requeue=False)
