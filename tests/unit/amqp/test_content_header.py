"""A header that pika cannot decode loses its value, and every other property stays."""

import struct
from typing import Any

import pytest
from pika import BasicProperties, frame
from pika.data import encode_value

from worker.amqp.properties import readable_header

ID = {"correlation_id": "c", "reply_to": "r", "message_id": "m", "timestamp": 7}


def long(text: bytes) -> bytes:
    return struct.pack(">L", len(text)) + text


def entry(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + value


def nested(depth: int) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = b"F" + long(entry(b"a", value))
    return value


def read(table: bytes, **properties: Any) -> Any:
    """Return what is read of a frame whose headers are this table, as bytes."""
    given = BasicProperties(headers={}, **properties)
    encoded = b"".join(given.encode()).replace(long(b""), long(table), 1)
    payload = struct.pack(">HHQ", 60, 0, 5) + encoded
    buffer = struct.pack(">BHL", 2, 3, len(payload)) + payload + b"\xce" + b"the next frame"
    found = readable_header(buffer)
    assert found is not None
    end, header = found
    assert buffer[end:] == b"the next frame"
    assert isinstance(header, frame.Header)
    assert (header.channel_number, header.body_size) == (3, 5)
    return header.properties


def encoded(value: object) -> bytes:
    pieces: list[bytes] = []
    encode_value(pieces, value)
    return b"".join(pieces)


@pytest.mark.parametrize(
    "value",
    [
        b"T" + struct.pack(">Q", 2**60),  # a time beyond the year 9999
        b"d" + struct.pack(">d", float("nan")),
        b"f" + struct.pack(">f", float("inf")),
        b"A" + long(b"T" + struct.pack(">Q", 2**60)),
        b"F" + long(entry(b"a", b"Z")),
        b"F" + long(b"\x05a"),
        nested(1200),
    ],
)
@pytest.mark.parametrize("more", [{}, {"content_type": "a/b", "content_encoding": "gzip"}])
def test_it_alone_is_dropped(value: bytes, more: dict[str, str]) -> None:
    others = entry(b"traceparent", encoded("00-ab")) + entry(b"n", encoded(7))
    table = entry(b"first", encoded([True])) + entry(b"bad", value) + others
    properties = read(table, **ID, **more)
    assert properties.headers == {"first": [True], "bad": None, "traceparent": "00-ab", "n": 7}
    assert {name: getattr(properties, name) for name in ID} == ID
    assert properties.content_encoding == more.get("content_encoding")


def test_behind_a_value_of_no_known_kind_nothing_is_told_apart() -> None:
    table = entry(b"first", encoded(1)) + entry(b"bad", b"Z\x00\x00") + entry(b"n", encoded(7))
    properties = read(table, **ID)
    assert properties.headers == {"first": 1}
    assert properties.reply_to == "r"


def test_properties_that_break_off_count_as_absent() -> None:
    payload = struct.pack(">HHQ", 60, 0, 5) + struct.pack(">H", BasicProperties.FLAG_HEADERS)
    buffer = struct.pack(">BHL", 2, 3, len(payload)) + payload + b"\xce"
    found = readable_header(buffer)
    assert found is not None
    assert found[1].properties == BasicProperties()


def test_another_kind_of_frame_is_left_alone() -> None:
    assert readable_header(struct.pack(">BHL", 1, 0, 0) + b"\xce") is None
