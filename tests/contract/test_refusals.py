"""Every refusal and every answer reaches who asked, under the key that the guide says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.e2e.harness import request, until

if TYPE_CHECKING:
    from tests.e2e.harness import Stack

WRAPPED = {"specversion": "1.0", "id": "e-1", "source": "/crm", "type": "verify"}


def answered(stack: Stack, body: dict[str, Any] | bytes, **properties: Any) -> tuple[Any, ...]:
    """Publish a message; return the key, correlation and body of the one event that it causes."""
    stack.publish(body, **properties)
    until(lambda: stack.depth("collector"))
    ((method, found, event),) = stack.take()
    return method.routing_key, found.correlation_id, orjson.loads(event)


def test_what_cannot_be_read_is_answered_with_what_can_be_told(working: Stack) -> None:
    without_id = request("", source="web")
    for body, properties, key, correlation in (
        (b"{", {}, "default.rejected", None),
        (b"{", {"message_id": "m-1"}, "default.rejected", "m-1"),
        (b"{", {"message_id": "m-1", "correlation_id": "c-1"}, "default.rejected", "c-1"),
        (b"{", {"message_id": "m-1", "reply_to": "team.a"}, "team.a", "m-1"),
        (without_id, {"correlation_id": "c-2"}, "web.rejected", "c-2"),
        ({**WRAPPED, "data": without_id}, {"message_id": "e-1"}, "web.rejected", "e-1"),
    ):
        found_key, found_correlation, event = answered(working, body, **properties)
        assert (found_key, found_correlation) == (key, correlation)
        assert (event["outcome"], event["error"]["kind"]) == ("rejected", "unreadable")
    assert "publish its data alone" in event["error"]["fields"][0]["problem"]


def test_a_repeat_by_another_source_is_answered_to_it_alone(working: Stack) -> None:
    keys = [
        answered(working, request("shared", source=source))[0]
        for source in ("web", "branch", "web", "branch")
    ]
    assert keys == ["web.match", "branch.match", "web.match", "branch.match"]
    until(lambda: working.is_sent("shared"))
    assert working.provider.charges()["charges"] == 1
