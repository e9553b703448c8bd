"""CloudEvents attributes, on every way that an event takes; the body stays as it is.

CloudEvents AMQP protocol binding 1.0.2, binary mode; the required attributes are those of the
CloudEvents specification 1.0.2, section "Required attributes".
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.harness import Stack, until
from worker.contract.golden import example_request
from worker.contract.result_v1 import CLOUD_PREFIX

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
UNSEND = """UPDATE verification.request
    SET event_sent_at = NULL, event_retry_at = NULL, settled_at = NULL"""


@pytest.fixture
def clouded(stack: Stack) -> Stack:
    stack.environment["EVENT_FORMAT"] = "cloudevents"
    return stack


def event_of(stack: Stack) -> tuple[Any, dict[str, Any]]:
    """Wait for one event; return its properties and body."""
    until(lambda: stack.depth("collector"))
    ((_, properties, body),) = stack.take()
    return properties, json.loads(body)


def attributes(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(CLOUD_PREFIX): value
        for name, value in headers.items()
        if name.startswith(CLOUD_PREFIX)
    }


def publish(stack: Stack, name: str, **properties: Any) -> None:
    stack.publish(json.dumps(example_request(name)).encode(), reply_to="to.me", **properties)


def test_an_event_is_a_cloud_event(clouded: Stack) -> None:
    worker = clouded.start_worker()
    publish(clouded, "match", headers={"traceparent": TRACE})
    properties, event = event_of(clouded)
    found = attributes(properties.headers)
    assert found == {
        "specversion": "1.0",
        "id": event["eventId"],
        "source": "/verification-worker/sandbox",
        "type": "verification.result.v1",
        "time": event["completedAt"],
        "subject": event["requestId"],
        "traceparent": TRACE,
    }
    assert datetime.fromisoformat(found["time"]).tzinfo is not None
    assert properties.content_type == "application/json"
    assert properties.message_id == found["id"]
    assert properties.headers.items() >= {"outcome": "match", "traceparent": TRACE}.items()
    # An answer without a row is one, too.
    for name, subject in (("conflict", "example-match"), ("unreadable", None)):
        publish(clouded, name)
        answer, said = event_of(clouded)
        found = attributes(answer.headers)
        assert (found["id"], found.get("subject")) == (said["eventId"], subject)
        assert found["source"] == "/verification-worker/sandbox"
    assert worker.stop() == 0
    # Without the setting there is none, and the body is the same.
    worker = clouded.start_worker(EVENT_FORMAT="plain")
    publish(clouded, "match", headers={"traceparent": TRACE})
    plain, repeated = event_of(clouded)
    assert attributes(plain.headers) == {}
    assert plain.headers.items() < properties.headers.items()
    assert repeated == event
    assert worker.stop() == 0


def test_a_replay_the_relay_and_a_persons_flush_make_the_same_event(clouded: Stack) -> None:
    worker = clouded.start_worker()
    publish(clouded, "match")
    first = timeless(clouded)
    publish(clouded, "match")
    assert timeless(clouded) == first
    assert worker.stop() == 0
    unsend(clouded)
    assert clouded.command("outbox", "flush").returncode == 0
    assert timeless(clouded) == first
    unsend(clouded)
    worker = clouded.start_worker()
    assert timeless(clouded) == first
    until(lambda: worker.said("relay.sent"))
    assert worker.stop() == 0
    assert clouded.unsent() == []


def timeless(stack: Stack) -> tuple[dict[str, str], dict[str, Any]]:
    """Wait for one event; return its headers and body without what `unsend` moves."""
    properties, event = event_of(stack)
    headers = dict(properties.headers)
    assert headers.pop(f"{CLOUD_PREFIX}time") == event.pop("completedAt")
    del event["requestedAt"]
    return headers, event


def unsend(stack: Stack) -> None:
    """Let the event be unsent, and its minute be over."""
    stack.as_owner(UNSEND)
    stack.pass_minutes(5)
