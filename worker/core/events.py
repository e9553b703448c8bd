"""Which event a request causes: its id and its way."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from worker.core.claims import Envelope
    from worker.core.outcome import Outcome


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


def routing_key(source: str, outcome: Outcome, envelope: Envelope) -> str:
    """Return where the event goes: the sender's `reply_to`, else `<source>.<outcome>`."""
    return envelope.reply_to or f"{source}.{outcome}"
