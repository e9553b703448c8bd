"""pika's methods and properties to and from ours, and header frames that pika cannot decode whole.

Pure; what others sent is not trusted. pika decodes a whole table or raises (pika#1698, #1699).
"""

import struct
from collections.abc import Mapping
from typing import Any

from pika import BasicProperties, exceptions, frame, spec
from pika.data import decode_value

from worker.contract.encryption import media_type
from worker.contract.internal import PUBLISHED_AS, PUBLISHED_BY
from worker.contract.names import DEAD, REQUEST_QUEUES
from worker.core.delivery import MOST_RETURNS, Delivery, Publication
from worker.core.request import Lane

PERSISTENT = 2

# A short string of AMQP has 255 bytes, and a replacement mark has 3 in UTF-8: what came as 255
# bytes of rubbish must still fit when it is published again, as part of a dead letter.
_MOST_REPLACED = 85

# What is longer is none of what we read (a traceparent has 55 characters), and the header frame of
# what we publish must not outgrow the broker's frame_max: the connection would be closed, for ever.
_LONGEST_TEXT = 255

# A publisher's clock may be wrong, and some count milliseconds: what lies in the future or so many
# seconds back is not believed. A message that did wait for longer only shows too small an age.
_OLDEST = 30 * 86_400.0


def read_delivery(
    epoch: int,
    method: Any,
    properties: Any,
    body: bytes,
    now: float | None = None,
    lane: Lane = Lane.LIVE,
) -> Delivery:
    """Return what pika delivered as our own; values that cannot be text become None.

    `now` is in seconds since the epoch, None where nobody asks how long the message waited.
    """
    headers = properties.headers
    published_at = None if now is None else _published_at(properties.timestamp, now)
    return Delivery(
        epoch,
        method.delivery_tag,
        body,
        as_text(properties.message_id),
        as_text(properties.correlation_id),
        as_text(properties.reply_to),
        _text_in(headers, "traceparent"),
        method.redelivered,
        now if published_at is None else published_at,
        published_at is not None,
        _returned(headers) if headers else 0,
        as_text(properties.content_encoding),
        app_id=as_text(properties.app_id),
        user_id=as_text(properties.user_id) or _text_in(headers, PUBLISHED_BY),
        routing_key=_routing_key(method, headers),
        lane=lane,
    )


def _published_at(timestamp: object, now: float) -> float | None:
    is_credible = type(timestamp) is int and 0 <= now - timestamp < _OLDEST
    return float(timestamp) if is_credible else None  # type: ignore[arg-type]


def _text_in(headers: Mapping[str, object] | None, name: str) -> str | None:
    value = headers.get(name) if headers else None
    return value if type(value) is str and len(value) <= _LONGEST_TEXT else None


def _routing_key(method: Any, headers: Mapping[str, object] | None) -> str | None:
    """Return what the publisher named; who published to a queue by its name named none."""
    if headers and (key := _text_in(headers, PUBLISHED_AS)):
        return key
    key = method.routing_key
    match headers and headers.get("x-death"):
        case [*_, {"routing-keys": [first, *_]}]:  # the oldest death comes last
            key = first
    return None if key in (DEAD, *REQUEST_QUEUES.values()) else as_text(key)


def _returned(headers: Mapping[str, object]) -> int:
    value = headers.get("returned")
    # More than that says nothing more, and one more than the largest integer is none of AMQP's.
    return min(value, MOST_RETURNS + 1) if type(value) is int and value > 0 else 0


def as_text(value: object) -> str | None:
    """Return a property as text that can be published again, or None.

    pika hands over short strings that are not UTF-8 as bytes: they get replacement marks, and the
    contract decides what it makes of them.
    """
    if type(value) is str:
        return value
    if isinstance(value, bytes):
        return value[:_MOST_REPLACED].decode("utf-8", "replace")
    return None


def written_properties(publication: Publication) -> Any:
    """Return pika's properties of a publication."""
    return BasicProperties(
        content_type=media_type(publication.body),
        content_encoding=publication.content_encoding,
        headers=publication.headers or None,
        delivery_mode=PERSISTENT,
        correlation_id=publication.correlation_id,
        reply_to=publication.reply_to,
        app_id=publication.app_id,
        message_id=publication.message_id,
        timestamp=publication.timestamp,
        type=publication.type,
    )


# Anyone may publish a header that pika's decoder raises on (a time beyond the year 9999, a table
# nested 1,000 deep), and an exception there ends the connection: one message would stop every
# worker that takes it. These are all the kinds that its decoder can raise.
UNDECODABLE = (
    ArithmeticError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    exceptions.AMQPError,
)

# Class, weight and size of the body.
_BEFORE_PROPERTIES = 12
# Bytes of a header's value by its kind, and the kinds that count theirs in four bytes themselves.
_SIZES = ((b"V", 0), (b"tbB", 1), (b"Uus", 2), (b"Iif", 4), (b"D", 5), (b"LldT", 8))
_FIXED = {bytes((kind,)): size for kinds, size in _SIZES for kind in kinds}
_COUNTED = frozenset((b"S", b"x", b"F", b"A"))


def readable_header(buffer: bytes) -> tuple[int, Any] | None:
    """Return a content header with those of its properties that can be read."""
    kind, channel, size = struct.unpack_from(">BHL", buffer)
    if kind != spec.FRAME_HEADER:
        return None
    _, _, body_size = struct.unpack_from(">HHQ", buffer, spec.FRAME_HEADER_SIZE)
    end = spec.FRAME_HEADER_SIZE + size
    encoded = buffer[spec.FRAME_HEADER_SIZE + _BEFORE_PROPERTIES : end]
    try:
        properties = BasicProperties().decode(_without_undecodable(encoded))
    except UNDECODABLE:
        properties = BasicProperties()
    return end + spec.FRAME_END_SIZE, frame.Header(channel, body_size, properties)


def _without_undecodable(encoded: bytes) -> bytes:
    """Return properties whose undecodable headers have no value; their names stay.

    A value tells its kind and with it its length, so what follows it can be read.
    """
    (flags,) = struct.unpack_from(">H", encoded)
    if not flags & BasicProperties.FLAG_HEADERS:
        return encoded
    start = 2
    for flag in (BasicProperties.FLAG_CONTENT_TYPE, BasicProperties.FLAG_CONTENT_ENCODING):
        start += 1 + encoded[start] if flags & flag else 0
    (length,) = struct.unpack_from(">L", encoded, start)
    end = start + 4 + length
    table, kept = encoded[start + 4 : end], b""
    place = 0
    while place < len(table):
        value = place + 1 + table[place]
        after = _value_end(table, value)
        if after is None or after > len(table):
            break  # of no known kind: where the next one begins cannot be told
        kept += (
            table[place:after] if _is_decodable(table, value, after) else table[place:value] + b"V"
        )
        place = after
    return encoded[:start] + struct.pack(">L", len(kept)) + kept + encoded[end:]


def _value_end(table: bytes, value: int) -> int | None:
    kind = table[value : value + 1]
    if kind in _FIXED:
        return value + 1 + _FIXED[kind]
    if kind not in _COUNTED:
        return None
    (length,) = struct.unpack_from(">L", table, value + 1)
    return int(value + 5 + length)


def _is_decodable(table: bytes, value: int, after: int) -> bool:
    try:
        return bool(decode_value(table, value)[1] == after)
    except UNDECODABLE:
        return False
