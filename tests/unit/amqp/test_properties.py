"""What others put into properties arrives as text that can be published again, or not at all."""

import struct
from typing import Any

import pytest
from pika import BasicProperties, frame, spec
from pika.data import encode_value

from worker.amqp.properties import read_delivery, readable_header, written_properties
from worker.contract.internal import returned
from worker.core.delivery import MOST_RETURNS, Delivery, Publication

NOW = 1_800_000_000.5


def read(properties: BasicProperties) -> Delivery:
    method = spec.Basic.Deliver(delivery_tag=7, redelivered=True)
    return read_delivery(3, method, properties, b"{}", NOW)


def test_a_delivery_keeps_what_we_use() -> None:
    delivery = read(
        BasicProperties(
            message_id="m",
            correlation_id="c",
            reply_to="r",
            headers={"traceparent": "00-ab-cd-01", "other": 1},
        )
    )
    assert delivery == Delivery(3, 7, b"{}", "m", "c", "r", "00-ab-cd-01", True, NOW)


@pytest.mark.parametrize(
    ("timestamp", "published_at"),
    [
        (1_800_000_000, 1_800_000_000.0),
        (1_799_000_000, 1_799_000_000.0),  # eleven days in a queue
        (None, NOW),
        (1_800_000_001, NOW),  # in the future
        (1_790_000_000, NOW),  # longer than anything waits here
        (1_800_000_000_000, NOW),  # milliseconds
        (0, NOW),
        (2**64 - 1, NOW),
    ],
)
def test_a_publishers_time_is_believed_where_it_can_be(
    timestamp: int | None, published_at: float
) -> None:
    assert read(BasicProperties(timestamp=timestamp)).published_at == published_at


def test_bytes_that_are_no_text_get_marks() -> None:
    assert read(BasicProperties(message_id=b"onb-\xff")).message_id == "onb-�"


def test_rubbish_of_the_greatest_length_can_be_published_again() -> None:
    text = read(BasicProperties(correlation_id=b"\xff" * 255)).correlation_id
    assert text is not None
    written = written_properties(Publication("", "verification.dead", b"{}", correlation_id=text))
    written.encode()  # raises beyond 255 bytes


@pytest.mark.parametrize("count", [1, MOST_RETURNS, MOST_RETURNS + 1, 2**63 - 1])
def test_a_count_of_returns_can_be_counted_on(count: int) -> None:
    delivery = read(BasicProperties(headers={"returned": count}))
    assert (delivery.returned > MOST_RETURNS) is (count > MOST_RETURNS)
    written_properties(returned(delivery)).encode()  # raises beyond 64 bits


@pytest.mark.parametrize("value", [7, b"00-ab", {"a": 1}, "0" * 256])
def test_a_traceparent_that_cannot_be_one_is_dropped(value: object) -> None:
    assert read(BasicProperties(headers={"traceparent": value})).traceparent is None


def test_publications_are_persistent_json() -> None:
    written = written_properties(
        Publication(
            "verification.results",
            "a.match",
            b"{}",
            message_id="e",
            correlation_id="c",
            reply_to="r",
            type="verification.result.v1",
            timestamp=1_790_000_000,
            headers={"outcome": "match"},
        )
    )
    assert written.delivery_mode == 2
    assert written.content_type == "application/json"
    assert written.content_encoding is None
    assert (written.message_id, written.correlation_id, written.reply_to) == ("e", "c", "r")
    assert (written.type, written.timestamp) == ("verification.result.v1", 1_790_000_000)
    assert written.headers == {"outcome": "match"}
    assert written.expiration is None


def test_what_is_encrypted_says_so_whoever_publishes_it() -> None:
    written = written_properties(Publication("", "q", b"eyJ9.a.b.c.d"))
    assert written.content_type == "application/jose"


# A header that pika cannot decode loses its value, and every other property stays.

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


def read_frame(table: bytes, **properties: Any) -> Any:
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
def test_a_value_that_cannot_be_decoded_is_dropped_alone(
    value: bytes, more: dict[str, str]
) -> None:
    others = entry(b"traceparent", encoded("00-ab")) + entry(b"n", encoded(7))
    table = entry(b"first", encoded([True])) + entry(b"bad", value) + others
    properties = read_frame(table, **ID, **more)
    assert properties.headers == {"first": [True], "bad": None, "traceparent": "00-ab", "n": 7}
    assert {name: getattr(properties, name) for name in ID} == ID
    assert properties.content_encoding == more.get("content_encoding")


def test_behind_a_value_of_no_known_kind_nothing_is_told_apart() -> None:
    table = entry(b"first", encoded(1)) + entry(b"bad", b"Z\x00\x00") + entry(b"n", encoded(7))
    properties = read_frame(table, **ID)
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
