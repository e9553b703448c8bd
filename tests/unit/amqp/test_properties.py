"""What others put into properties arrives as text that can be published again, or not at all."""

import pytest
from pika import BasicProperties, spec

from worker.amqp.properties import read_delivery, written_properties
from worker.core.delivery import Delivery, Publication

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
