"""Events that a crash left unsent, listed and sent; requests left without one; rows grown old."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.harness import Stack, request, until


def flush(stack: Stack) -> Any:
    return stack.document("outbox", "flush")


def listed(stack: Stack) -> Any:
    return stack.document("outbox", "list")


def test_an_unsent_event_is_listed_sent_once_and_marked(stack: Stack) -> None:
    worker = stack.start_worker()
    ids = {f"onb-{number}" for number in range(3)}
    for each in ids:
        message = request(each, context={"applicant": 42})
        stack.publish(message, reply_to="to.me", correlation_id="c-7")
    until(lambda: stack.is_sent(*ids))
    assert worker.stop() == 0
    first = {event["requestId"]: event["eventId"] for event in stack.events()}
    assert (listed(stack), flush(stack)) == ([], {"sent": 0, "left": 0})
    stack.as_owner("UPDATE verification.request SET event_sent_at = NULL, settled_at = NULL")
    stack.pass_minutes(5)
    rows = listed(stack)
    assert {row["request_id"] for row in rows} == ids
    assert all(row["outcome"] == "match" and row["age"] >= 300 for row in rows)
    table = stack.command("outbox", "list", "--limit", "1")
    assert len(table.stdout.splitlines()) == 2
    assert "no more than 1 row, the oldest first: --limit" in table.stderr
    assert flush(stack) == {"sent": 3, "left": 0}
    events = stack.take()
    assert {(m.routing_key, p.correlation_id) for m, p, _ in events} == {("to.me", "c-7")}
    again = [json.loads(body) for _, _, body in events]
    assert {event["requestId"]: event["eventId"] for event in again} == first
    assert all(event["context"] == {"applicant": 42} for event in again)
    assert (listed(stack), stack.unsent()) == ([], [])


def test_a_young_event_is_left_to_its_worker(stack: Stack) -> None:
    stack.insert_unsent("young", minutes=0)
    done = stack.command("outbox", "flush")
    assert done.stdout.split() == ["sent", "0", "left", "1"]
    assert "younger than a minute or held by a relay" in done.stderr
    assert stack.events() == []


def test_more_than_one_batch_is_sent(stack: Stack) -> None:
    stack.insert_unsent(*(f"bulk-{number}" for number in range(250)))
    assert flush(stack) == {"sent": 250, "left": 0}
    assert len({event["requestId"] for event in stack.events()}) == 250


def test_without_the_exchange_nothing_is_marked(stack: Stack) -> None:
    stack.insert_unsent("onb-1")
    stack.channel.exchange_delete("verification.results")
    assert "topology apply" in stack.refused("outbox", "flush")
    assert len(listed(stack)) == 1


def test_retention_works_to_the_end_and_says_what_it_did(stack: Stack) -> None:
    stack.insert_unsent(*(f"old-{n}" for n in range(700)), minutes=40 * 24 * 60)
    stack.insert_unsent(*(f"newer-{n}" for n in range(500)), minutes=3 * 24 * 60)
    stack.as_owner("UPDATE verification.request SET event_sent_at = now(), masked_name = '张*'")
    assert stack.document("retention") == {"cleared": 0, "deleted": 0}
    assert "everything is kept" in stack.command("retention").stderr
    stack.environment |= {"CLEAR_AFTER_DAYS": "2", "DELETE_AFTER_DAYS": "30"}
    done = stack.document("retention")
    # Both go on batch by batch, so some are cleared before they are deleted.
    assert done["deleted"] == 700
    assert done["cleared"] >= 500
    assert stack.count() == 500
    assert all(row["masked_name"] is None for row in stack.results().values())
    assert stack.document("retention") == {"cleared": 0, "deleted": 0}
