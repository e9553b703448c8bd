"""The AMQP properties that a sender sets: bounded and checked before they are used again. Pure.

`reply_to` becomes a routing key and `correlation_id` a property of the event, so both must be
printable; a `traceparent` that is none is no reason to refuse a request and is dropped. What
`content_encoding` says that the publisher has packed is unpacked.
"""

import re
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace

from worker.core.claims import Envelope
from worker.core.delivery import Delivery
from worker.core.outcome import BadMessage, FieldProblem

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# 47: gzip or zlib, whichever it is; some clients send deflate without zlib's head, as in HTTP.
_WBITS = {"gzip": (47,), "x-gzip": (47,), "deflate": (47, -15)}
# What clients write there of a body that is not packed: a character set (kombu, Spring).
_PLAIN = frozenset({"", "identity", "utf-8", "utf8", "us-ascii", "ascii", "binary", "8bit", "7bit"})
# The first bytes of gzip and zlib. No JSON begins like that.
_MAGIC = (b"\x1f\x8b", b"x\x01", b"x^", b"x\x9c", b"x\xda")
_PIECE = 4_096
_SHOWN = re.compile(r"[a-z][a-z-]{0,15}")


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


@dataclass(eq=False)
class NotUnpacked(Exception):
    """The body is not what its encoding says, or larger than the limit."""

    reason: BadMessage
    problem: str


def unpacked(delivery: Delivery, limit: int) -> Delivery:
    """Return a delivery with its body unpacked, of at most `limit` bytes; raise `NotUnpacked`.

    It has an encoding afterwards only where that one is not known here.
    """
    if delivery.content_encoding is None:
        return delivery
    # Spring adds its own to what was there: `gzip, UTF-8`, formerly `gzip:UTF-8`.
    names = [each.strip().lower() for each in re.split("[,:]", delivery.content_encoding)]
    packings = [each for each in names if each not in _PLAIN]
    if not packings:
        return replace(delivery, content_encoding=None)
    if len(packings) > 1 or packings[0] not in _WBITS:
        return delivery
    return replace(delivery, body=_unpack(delivery.body, packings[0], limit), content_encoding=None)


def beginning(body: bytes, limit: int) -> bytes:
    """Return what can be unpacked of a body that looks packed, whatever is said of it, or nothing.

    At most `limit` bytes of it, and where it is damaged what stands before that.
    """
    if not body.startswith(_MAGIC):
        return b""
    unpacking, plain, left = zlib.decompressobj(47), [], limit
    with suppress(zlib.error):
        for at in range(0, len(body), _PIECE):
            plain.append(unpacking.decompress(body[at : at + _PIECE], left))
            left -= len(plain[-1])
            if not left:
                break
    return b"".join(plain)


def unknown_encoding(delivery: Delivery) -> str:
    """Return what is wrong with an encoding that is not known here."""
    name = (delivery.content_encoding or "").strip().lower()
    shown = name if _SHOWN.fullmatch(name) else "what it says"
    return f"{shown} is not known here: gzip and deflate are, and none"


def _unpack(body: bytes, packing: str, limit: int) -> bytes:
    for wbits in _WBITS[packing]:
        unpacking = zlib.decompressobj(wbits)
        try:
            plain = unpacking.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(plain) > limit:
            raise NotUnpacked(BadMessage.TOO_LARGE, f"is larger than {limit} bytes when unpacked")
        if unpacking.eof and not unpacking.unused_data:
            return plain
    raise NotUnpacked(BadMessage.NOT_JSON, f"is not {packing}, or not all of it")
