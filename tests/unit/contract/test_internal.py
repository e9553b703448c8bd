"""Retries and dead letters carry the message as it came, and say why in codes."""

from datetime import datetime, timedelta, timezone

import pytest

from tests.fakes.messages import deliver
from worker.contract import internal
from worker.core.delivery import Publication

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PROPERTIES = {"message_id": "m-1", "correlation_id": "c-1", "reply_to": "r"}
DELIVERY = deliver(b"\xff any bytes", **PROPERTIES, traceparent=TRACE, content_encoding="gzip")
BEIJING = datetime(2026, 3, 1, 20, 0, tzinfo=timezone(timedelta(hours=8)))


@pytest.mark.parametrize(
    "again",
    [
        internal.retry(DELIVERY, 5),
        internal.replay(DELIVERY),
        internal.dead_letter(DELIVERY, "x", attempts=0, last_error="x", first_seen=BEIJING),
    ],
    ids=["retry", "replay", "dead-letter"],
)
def test_the_message_is_what_it_was(again: Publication) -> None:
    assert again.body == DELIVERY.body
    assert {name: getattr(again, name) for name in PROPERTIES} == PROPERTIES
    assert again.content_encoding == "gzip"
    assert again.event_of is None
    assert not [name for name in again.headers if name.startswith("x-")]  # 4.x drops x-death


def test_a_message_without_a_trace_gets_no_header() -> None:
    assert internal.retry(deliver(b""), 5).headers == {}
