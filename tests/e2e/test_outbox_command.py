"""Events that a crash left unsent, listed and sent by a person; and rows that grew old."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.e2e.harness import Stack, request, until

if TYPE_CHECKING:
    import subprocess


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flush(stack: Stack) -> Any:
    return document(stack.command("outbox", "flush", "--json"))


def listed(stack: Stack) -> Any:
    return document(stack.command("outbox", "list", "--json"))


def test_an_unsent_event_is_listed_sent_once_and_marked(stack: Stack) -> None:
    worker = stack.start_worker()
    ids = {f"onb-{number}" for number in range(3)}
    for each in ids:
        stack.publish(request(each), reply_to="to.me")
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
    assert {method.routing_key for method, _, _ in events} == {"to.me"}
    again = [json.loads(body) for _, _, body in events]
    assert {event["requestId"]: event["eventId"] for event in again} == first
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


def test_the_other_modes_events_are_not_ours(stack: Stack) -> None:
    stack.insert_unsent("onb-1")
    stack.as_owner("UPDATE verification.request SET mode = 'live'")
    assert flush(stack) == {"sent": 0, "left": 0}
    assert stack.events() == []
    assert [row["mode"] for row in listed(stack)] == ["live"]


def test_without_the_exchange_nothing_is_marked(stack: Stack) -> None:
    stack.insert_unsent("onb-1")
    stack.channel.exchange_delete("verification.results")
    done = stack.command("outbox", "flush")
    assert (done.returncode, done.stdout) == (2, "")
    assert "topology apply" in done.stderr
    assert len(listed(stack)) == 1


def test_retention_works_to_the_end_and_says_what_it_did(stack: Stack) -> None:
    stack.insert_unsent(*(f"old-{n}" for n in range(700)), minutes=40 * 24 * 60)
    stack.insert_unsent(*(f"newer-{n}" for n in range(500)), minutes=3 * 24 * 60)
    stack.as_owner("UPDATE verification.request SET event_sent_at = now(), masked_name = '张*'")
    idle = stack.command("retention", "--json")
    assert document(idle) == {"cleared": 0, "deleted": 0}
    assert "everything is kept" in idle.stderr
    stack.environment |= {"CLEAR_AFTER_DAYS": "2", "DELETE_AFTER_DAYS": "30"}
    done = document(stack.command("retention", "--json"))
    # Both go on batch by batch, so some are cleared before they are deleted.
    assert done["deleted"] == 700
    assert done["cleared"] >= 500
    assert stack.count() == 500
    assert all(row["masked_name"] is None for row in stack.results().values())
    assert document(stack.command("retention", "--json")) == {"cleared": 0, "deleted": 0}
