"""What all messages share: the broker's names, and how times are written."""

from datetime import UTC, datetime
from types import MappingProxyType

from worker.core.request import Lane
from worker.settings import delay_name

REQUESTS = "verification.requests"
"""The exchange that takes requests, and the queue behind it."""

BULK = "verification.bulk"
"""The exchange that takes requests that can wait."""

REQUEST_QUEUES = MappingProxyType({Lane.LIVE: REQUESTS, Lane.BULK: "verification.requests.bulk"})
"""Where each lane's requests wait for a worker."""

RETRY_PREFIXES = MappingProxyType(
    {Lane.LIVE: "verification.retry.", Lane.BULK: "verification.bulk.retry."}
)
"""How the names of each lane's retry queues begin."""

DEAD = "verification.dead"
"""The queue of what could not be processed."""

RESULTS = "verification.results"
"""The exchange that takes result events."""

UNROUTED = "verification.unrouted"
"""The alternate exchange of the results, and the queue that keeps what nobody was bound for."""

EVENT_TYPE = "verification.result.v1"
"""The `type` property of a result event."""


def retry_queue(seconds: int, lane: Lane = Lane.LIVE) -> str:
    """Return the name of the queue in which a lane's retry waits: `verification.retry.30s`."""
    return RETRY_PREFIXES[lane] + delay_name(seconds)


def rfc3339(moment: datetime, precision: str = "milliseconds") -> str:
    """Return RFC 3339 in UTC: `2026-11-27T21:13:45.000Z`, as precise as asked."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision)}Z"
