"""Messages by somebody who means no good: each ends as one outcome or one dead letter, logged once.

What a sender chooses never becomes a queue, an exchange, a header, a line of the log or SQL.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import structlog

from tests.chaos import malicious_messages as sent
from tests.e2e.harness import DEAD, Stack, request, until
from worker.telemetry.logs import configure

MESSAGES = sent.malicious_messages()
SETTLEMENTS = len(MESSAGES) + 1
"""One of them is called twice and so settled twice."""
EVENT_HEADERS = {"outcome", "source", "traceparent"}
DEAD_HEADERS = {"reason", "attempts", "firstSeen", "lastError", "publisherRoutingKey"}


def ends_of_all(stack: Stack, dead: dict[bytes, Any]) -> dict[str, str]:
    """Return how each message ended, by its name."""
    results = stack.results()
    ends = {}
    for message in MESSAGES:
        if message.body in dead:
            ends[message.name] = dead[message.body].headers["reason"]
        else:
            row = results.get(message.request_id or message.name, {"outcome": "lost"})
            ends[message.name] = row["outcome"]
    return ends


def rows_as_text(stack: Stack) -> str:
    """Return all that the tables hold."""
    rows = """SELECT r::text FROM verification.request AS r UNION ALL
              SELECT c::text FROM verification.provider_call AS c"""
    with psycopg.connect(stack.database_url) as connection:
        return "\n".join(text for (text,) in connection.execute(rows))


def test_when_messages_are_malicious_then_each_has_its_end_and_its_line(stack: Stack) -> None:
    stack.channel.queue_declare(sent.TRAP, durable=True)
    worker = stack.start_worker()
    for message in MESSAGES:
        stack.publish(message.body, **message.properties)
    until(lambda: sum("message.settled" in line for line in worker.lines) >= SETTLEMENTS)
    stack.publish(request("afterwards"))
    until(lambda: "afterwards" in stack.results())
    assert worker.stop() == 0
    dead = {body: properties for _, properties, body in stack.take(DEAD)}
    assert ends_of_all(stack, dead) == {message.name: message.ends for message in MESSAGES}
    assert len(worker.logged("message.settled")) == SETTLEMENTS + 1
    for properties in dead.values():
        # The broker's own header says how often the letter was handed out.
        assert set(properties.headers) - {"x-delivery-count"} == DEAD_HEADERS
    events = stack.take()
    assert stack.depth(sent.TRAP) == 0, "a sender chose a queue"
    chosen = {str(m.properties.get("reply_to")) for m in MESSAGES if m.ends == "match"}
    for method, properties, _ in events:
        assert method.routing_key in chosen | {"default.match", "default.rejected"}
        assert set(properties.headers) <= EVENT_HEADERS
        assert (properties.correlation_id or "").isprintable()
    said = [*worker.lines, rows_as_text(stack), *(str(p) + b.decode() for _, p, b in events)]
    assert sent.NAME not in "\n".join(said)
    assert sent.ID_CARD not in "\n".join(said).upper()


def test_whatever_is_logged_for_people_stays_on_its_line_and_changes_no_colour(
    capfd: pytest.CaptureFixture[str],
) -> None:
    values = [
        sent.SQL,
        sent.LOOK_UP,
        sent.BIDI,
        sent.FORGED,
        sent.RED,
        "vertical\x0bnext\x85separator\u2028",
    ]
    before = structlog.get_config()
    configure("console", "info")
    try:
        for value in values:
            structlog.get_logger().info("said", value=value)
    finally:
        structlog.configure(**before)
    said = capfd.readouterr().err
    assert len(said.split("\n")) == len(values) + 1
    assert sent.RED not in said
    assert "\r" not in said
