"""A result event's CloudEvents attributes, where `EVENT_FORMAT` is `cloudevents`. Pure.

Binary content mode of the CloudEvents AMQP protocol binding 1.0.2: the body stays as it is,
`content_type` is its type, and each attribute is an application property whose name begins with
`cloudEvents_` (the binding's spelling that JMS can read, too). RabbitMQ hands headers of AMQP
0-9-1 to consumers of AMQP 1.0 as application properties, so both see the same event. Times are
in their canonical form, as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.contract.names import EVENT_TYPE, rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from worker.core.request import Mode

PREFIX = "cloudEvents_"

ATTRIBUTES = {
    "specversion": "1.0",
    "id": "the eventId",
    "source": "/verification-worker/live, or /verification-worker/sandbox",
    "type": "verification.result.v1",
    "time": "completedAt",
    "subject": "the requestId; absent where none could be read",
    "traceparent": "the distributed tracing extension; absent where the request had none",
}
"""What each attribute holds, for the document that describes events."""


def event_source(mode: Mode) -> str:
    """Return who says so: another one for the sandbox, or its events could pass for live ones."""
    return f"/verification-worker/{mode}"


def attributes(
    event_id: str,
    mode: Mode,
    completed_at: datetime,
    *,
    request_id: str | None,
    traceparent: str | None,
) -> dict[str, str | int]:
    """Return the headers of one event; `subject` is the request, where its id is known."""
    found = {
        "specversion": "1.0",
        "id": event_id,
        "source": event_source(mode),
        "type": EVENT_TYPE,
        "time": rfc3339(completed_at),
        "subject": request_id,
        "traceparent": traceparent,
    }
    return {f"{PREFIX}{name}": value for name, value in found.items() if value is not None}
