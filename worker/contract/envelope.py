"""The AMQP properties that a sender sets: bounded and checked before they are used again.

`reply_to` becomes a routing key and `correlation_id` a property of the event, so both must be
printable; a `traceparent` that is none is no reason to refuse a request and is dropped.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.core.checks import passes_check_digit
from worker.core.claims import Envelope
from worker.core.outcome import FieldProblem

if TYPE_CHECKING:
    from worker.core.delivery import Delivery

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


# Looked for at every place, for an ID number may follow other digits.
_ID_NUMBER = re.compile(r"(?=([1-9][0-9]{5}(?:19|20)[0-9]{9}[0-9Xx]))")


def check_envelope(delivery: Delivery) -> tuple[Envelope, list[FieldProblem]]:
    """Return what of the properties is usable, and what is wrong with the rest."""
    problems = []
    reply_to, correlation_id = delivery.reply_to or None, delivery.correlation_id or None
    if reply_to is not None and not _KEY.fullmatch(reply_to):
        problem = "must have 1 to 255 printable ASCII characters without spaces"
        problems.append(FieldProblem("properties.reply_to", problem))
        reply_to = None
    # 255 bytes is what AMQP carries; the characters must not break a log line or a header.
    if correlation_id is not None and not (
        correlation_id.isprintable() and len(correlation_id.encode()) <= 255
    ):
        problem = "must be printable and at most 255 bytes"
        problems.append(FieldProblem("properties.correlation_id", problem))
        correlation_id = None
    return Envelope(reply_to, correlation_id, usable_traceparent(delivery)), problems


def of_nobody(envelope: Envelope) -> Envelope:
    """Return what may be repeated of a message that names no person to compare with.

    What could be anybody's ID number is left out. One in 500 long numbers that are none look like
    one: good enough for a message that is wrong anyway, and no reason to refuse one.
    """
    reply_to, correlation_id = envelope.reply_to, envelope.correlation_id
    return replace(
        envelope,
        reply_to=None if reply_to and may_be_id_number(reply_to) else reply_to,
        correlation_id=(
            None if correlation_id and may_be_id_number(correlation_id) else correlation_id
        ),
    )


def may_be_id_number(text: str) -> bool:
    """Return whether an ID number with its right check digit may stand in a text."""
    return any(map(passes_check_digit, _ID_NUMBER.findall(text)))


def usable_traceparent(delivery: Delivery) -> str | None:
    """Return the sender's traceparent, to be passed on, if it is one."""
    traceparent = delivery.traceparent
    is_one = traceparent is not None and _TRACEPARENT.fullmatch(traceparent)
    return traceparent if is_one else None
