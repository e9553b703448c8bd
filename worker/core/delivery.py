"""Messages: what the broker hands over, and what must be published before it is let go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

from worker.core.outcome import Outcome
from worker.core.request import Lane

# A message that the broker gives up so often has brought down hundreds of workers: it is the cause.
MOST_RETURNS = 3


@dataclass(frozen=True, slots=True, repr=False)
class Delivery:
    """One message as the broker delivered it. Its body and properties are not checked yet.

    `epoch` is the generation of its lane's channel that delivered it: an acknowledgement for an
    older generation is dropped, for the broker has queued that message again already.
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
    is_dated: bool = False
    """Whether its publisher said when it sent it."""
    returned: int = 0
    """How often the broker had given it up by its delivery limit when it was last put back."""
    content_encoding: str | None = None
    """How its publisher says that the body is packed."""
    app_id: str | None = None
    user_id: str | None = None
    """The broker's user who published it, where it said so: the broker has checked that."""
    routing_key: str | None = None
    """Under which it was published."""
    lane: Lane = Lane.LIVE

    def __repr__(self) -> str:
        return f"<Delivery {self.epoch}/{self.tag}, {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """One message of a queue for people, whoever put it there: nothing of it is checked.

    `headers` are all that AMQP carried: values are text, bytes, numbers, times, lists, tables.
    """

    delivery: Delivery
    headers: Mapping[str, object]
    origin: tuple[str, int | None] = ("", None)
    """Under which routing key it was published, and when, in seconds since the epoch."""
    properties: object = None
    """All of AMQP's properties, for who publishes it again as it came."""

    def __repr__(self) -> str:
        return f"<Letter, {len(self.delivery.body)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class Publication:
    """One persistent message to publish; it counts as sent when the broker has confirmed it."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    app_id: str | None = None
    type: str | None = None
    timestamp: int | None = None
    """Seconds since the epoch."""
    headers: Mapping[str, str | int] = field(default_factory=dict)
    event_of: str | None = None
    """The request whose stored result this announces; its row is marked when it is confirmed."""
    content_encoding: str | None = None
    """How the body is packed."""

    def __repr__(self) -> str:
        return f"<Publication to {self.exchange!r}, {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The only way out for a delivery: publish all of these, then acknowledge it."""

    delivery: Delivery
    publications: tuple[Publication, ...]
    line: Mapping[str, object] = field(default_factory=dict)
    """What the log says of this message when it is settled; codes and ids, no personal data."""


# Result events: how they are told apart.


class EventFormat(StrEnum):
    """What an event carries beside its body, which is the same in both."""

    PLAIN = "plain"
    CLOUDEVENTS = "cloudevents"
    """The attributes of a CloudEvent, too."""


# Namespace of all event ids; any fixed UUID does, and changing it would break every consumer
# that recognises repeats.
_NAMESPACE = UUID("6f0c5f0e-6b1d-4b0c-9d57-5f6a3a1f7c11")


def result_event_id(request_id: str) -> str:
    """Return the id of a request's result event: the same however often it is sent."""
    return str(uuid5(_NAMESPACE, f"result\n{request_id}"))


def answer_event_id(outcome: Outcome, fingerprint: bytes) -> str:
    """Return the id of an answer to a message that has no row of its own.

    It is made of the keyed fingerprint: a plain hash of the body could be enumerated.
    """
    return str(uuid5(_NAMESPACE, f"{outcome}\n{fingerprint.hex()}"))
