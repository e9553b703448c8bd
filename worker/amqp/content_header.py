"""A message's header frame whose headers pika cannot all decode: the others are kept. Pure.

pika decodes the whole table or raises (pika#1698, pika#1699).
"""

import struct
from typing import Any

from pika import BasicProperties, exceptions, frame, spec
from pika.data import decode_value

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
