"""What the broker hands over, and what must be confirmed before it is let go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, repr=False)
class Delivery:
    """One message as the broker delivered it. Its body and properties are not checked yet.

    `epoch` is the generation of the channel that delivered it: an acknowledgement for an older
    generation is dropped, for the broker has queued that message again already.
    """

    epoch: int
    tag: int
    body: bytes
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    traceparent: str | None = None
    redelivered: bool = False
    published_at: float | None = None
    """When its publisher sent it, or else when it was delivered, in seconds since the epoch."""

    def __repr__(self) -> str:
        return f"<Delivery {self.epoch}/{self.tag}, {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class Publication:
    """One persistent message to publish; it counts as sent when the broker has confirmed it."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    type: str | None = None
    timestamp: int | None = None
    """Seconds since the epoch."""
    headers: Mapping[str, str | int] = field(default_factory=dict)
    event_of: str | None = None
    """The request whose stored result this announces; its row is marked when it is confirmed."""

    def __repr__(self) -> str:
        return f"<Publication to {self.exchange!r}, {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The only way out for a delivery: publish all of these, then acknowledge it."""

    delivery: Delivery
    publications: tuple[Publication, ...]
    line: Mapping[str, object] = field(default_factory=dict)
    """What the log says of this message when it is settled; codes and ids, no personal data."""
