"""Events that nobody was bound for: listed, published again, dropped; and one sent once more."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pika

from local_programs import program
from tests.e2e.harness import CHECKOUT, ID_CARD, Process, Stack, request, run_program, until

UNROUTED = "verification.unrouted"


def bind_nobody(stack: Stack) -> None:
    stack.channel.queue_unbind("collector", "verification.results", "#")


def counted_by_sql(stack: Stack) -> list[str]:
    """Count them as the guide for analysts says."""
    guide = (CHECKOUT / "deploy" / "DATA.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```psql\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    psql = (program("psql"), "--no-psqlrc", "-At", "-v", "ON_ERROR_STOP=1", stack.database_url)
    done = run_program(*psql, text=block, environment={**stack.environment, "PATH": path})
    assert done.returncode == 0, done.stderr
    return [line.rpartition("|")[0] for line in done.stdout.splitlines()]


def test_unrouted_events_are_listed_replayed_and_dropped(stack: Stack) -> None:
    bind_nobody(stack)
    worker = stack.start_worker()
    for number in range(4):
        source = "left" if number < 2 else "right"
        stack.publish(request(f"onb-{number}", source=source), reply_to=f"nobody.{source}")
    until(lambda: stack.depth(UNROUTED) == 4)
    assert worker.stop() == 0

    rows = stack.document("unrouted", "list")
    assert {row["request_id"] for row in rows} == {f"onb-{number}" for number in range(4)}
    assert {row["routing_key"] for row in rows} == {"nobody.left", "nobody.right"}
    assert all(row["outcome"] == "match" and row["age"] >= 0 for row in rows)
    assert counted_by_sql(stack) == ["left|match|2", "right|match|2"]
    shown = stack.command("unrouted", "list", "--source", "left")
    assert "2 shown of 2 events that match" in shown.stderr
    assert ID_CARD not in shown.stdout

    refused = stack.command("unrouted", "replay", code=2)
    assert refused.stdout == ""
    assert "give --yes to replay" in refused.stderr
    back = stack.document("unrouted", "replay", "--source", "left", "--yes", code=1)
    assert back == {"replayed": 2, "still_unrouted": 2}

    bound = stack.channel.queue_declare("bound").method.queue
    stack.channel.queue_bind(bound, "verification.results", "nobody.left")
    seen = stack.document("unrouted", "replay", "--source", "left", "--yes")
    assert seen == {"replayed": 2, "still_unrouted": 0}
    until(lambda: stack.depth(bound) == 2)
    for method, properties, body in stack.take(bound):
        event = json.loads(body)
        assert method.routing_key == "nobody.left"
        assert properties.message_id == event["eventId"]
        assert properties.type == "verification.result.v1"
        assert properties.headers["outcome"] == "match"
        assert properties.delivery_mode == 2

    dropped = stack.document("unrouted", "drop", "--routing-key", "nobody.right", "--yes")
    assert dropped == {"dropped": 2}
    assert stack.depth(UNROUTED) == 0


def test_what_strangers_put_there_can_be_seen_and_dropped(stack: Stack) -> None:
    bind_nobody(stack)
    for body in (b"no event", b'["' + ID_CARD.encode() + b'"]', b'{"requestId": 7}'):
        stack.channel.basic_publish("verification.results", ID_CARD, body)
    until(lambda: stack.depth(UNROUTED) == 3)
    rows = stack.document("unrouted", "list")
    assert [row["request_id"] for row in rows] == [None] * 3
    assert ID_CARD not in str(rows)
    assert stack.document("unrouted", "drop", "--yes") == {"dropped": 3}

    # An order's number is as long as a person's: withheld, and found by who knows it.
    milliseconds = pika.BasicProperties(timestamp=1_764_280_000_000)
    body = b'{"requestId": "20261127000123"}'
    stack.channel.basic_publish("", UNROUTED, body, milliseconds, mandatory=True)
    (row,) = stack.document("unrouted", "list", "--request-id", "20261127000123")
    assert (row["request_id"], row["published"]) == ("(withheld)", None)

    key = "张三.match".encode("gbk")
    stack.channel.basic_publish("verification.results", key, b"{}")
    until(lambda: stack.depth(UNROUTED) == 2)
    assert len(stack.document("unrouted", "list")) == 2
    stack.channel.queue_bind("collector", "verification.results", "*.match")
    assert stack.document("unrouted", "replay", "--yes", code=1)["still_unrouted"] == 1
    until(lambda: stack.depth("collector") == 1)
    assert [method.routing_key for method, _, _ in stack.take("collector")] == [key]


def test_an_event_is_sent_once_more_with_the_same_id(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.have_answered(request("onb-1"), reply_to="to.me")
    assert worker.stop() == 0  # or its relay might have the event in hand
    (first,) = stack.events()
    assert stack.document("events", "resend", "onb-1") == {"unsent": "onb-1"}
    stack.pass_minutes(2)
    assert stack.document("outbox", "flush")["left"] == 0
    until(lambda: stack.depth("collector") == 1)
    assert [each["eventId"] for each in stack.events()] == [first["eventId"]]
    unknown = stack.command("events", "resend", "onb-2", code=1)
    assert "no finished request has this id" in unknown.stderr


def test_an_interrupted_submit_leaves_no_event_for_an_operator(stack: Stack) -> None:
    bind_nobody(stack)
    arguments = ["submit", "--check-type", "2", "--name", "张三", "--id-card", ID_CARD]
    submitting = Process.start(arguments, stack.environment)
    until(lambda: stack.depth("verification.requests") == 1)
    submitting.popen.send_signal(signal.SIGINT)
    assert submitting.ended() != 0
    stack.start_worker()
    until(lambda: stack.count() == 1)
    until(lambda: not stack.unsent())
    assert stack.depth(UNROUTED) == 0
