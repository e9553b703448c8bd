"""What all messages share: the broker's names, and how times are written."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

REQUESTS = "verification.requests"
"""The exchange that takes requests, and the queue behind it."""

RETRY_PREFIX = "verification.retry."
"""A retry queue's name is this and its delay: `verification.retry.30s`."""

DEAD = "verification.dead"
"""The queue of what could not be processed."""

RESULTS = "verification.results"
"""The exchange that takes result events."""

UNROUTED = "verification.unrouted"
"""The alternate exchange of the results, and the queue that keeps what nobody was bound for."""

EVENT_TYPE = "verification.result.v1"
"""The `type` property of a result event."""


def rfc3339(moment: datetime, precision: str = "milliseconds") -> str:
    """Return RFC 3339 in UTC: `2026-11-27T21:13:45.000Z`, as precise as asked."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision)}Z"
