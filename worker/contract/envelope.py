"""The AMQP properties that a sender sets: bounded and checked before they are used again.

`reply_to` becomes a routing key and `correlation_id` a property of the event, so both must be
printable; a `traceparent` that is none is no reason to refuse a request and is dropped.
"""

import re

from worker.core.claims import Envelope
from worker.core.delivery import Delivery
from worker.core.outcome import FieldProblem

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def check_envelope(delivery: Delivery) -> tuple[Envelope, list[FieldProblem]]:
    """Return what of the properties is usable, and what is wrong with the rest."""
    problems = []
    reply_to, correlation_id = delivery.reply_to or None, delivery.correlation_id or None
    if reply_to is not None and not _KEY.fullmatch(reply_to):
        problem = "must have 1 to 255 printable ASCII characters without spaces"
        problems.append(FieldProblem("properties.reply_to", problem))
        reply_to = None
    if correlation_id is not None and not correlates(correlation_id):
        problem = "must be printable and at most 255 bytes"
        problems.append(FieldProblem("properties.correlation_id", problem))
        correlation_id = None
    return Envelope(reply_to, correlation_id, usable_traceparent(delivery)), problems


def correlates(text: str) -> bool:
    """Return whether a text may be an event's correlation id.

    255 bytes is what AMQP carries; the characters must not break a log line or a header.
    """
    return text.isprintable() and len(text.encode()) <= 255


def usable_traceparent(delivery: Delivery) -> str | None:
    """Return the sender's traceparent, to be passed on, if it is one."""
    traceparent = delivery.traceparent
    is_one = traceparent is not None and _TRACEPARENT.fullmatch(traceparent)
    return traceparent if is_one else None
