"""Events that a crash left unsent, listed and sent by a person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.e2e.harness import ID_CARD, Stack, request, until
from tests.e2e.test_maintenance import as_owner, pass_minutes

if TYPE_CHECKING:
    import subprocess

UNSEND = "UPDATE verification.request SET event_sent_at = NULL, settled_at = NULL"


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def finish(stack: Stack, number: int) -> None:
    """Let so many requests end, and forget that their events were sent."""
    worker = stack.start_worker()
    for each in range(number):
        stack.publish(request(f"onb-{each}"), reply_to="to.me")
    until(lambda: stack.count() == number)
    assert worker.stop() == 0
    as_owner(stack, UNSEND)
    stack.events()


def test_what_is_sent_is_not_listed(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(request("onb-1"))
    until(stack.count)
    assert worker.stop() == 0
    assert document(stack.command("outbox", "list", "--json")) == []
    assert document(stack.command("outbox", "flush", "--json")) == {"sent": 0, "left": 0}


def test_an_unsent_event_is_listed_sent_once_and_marked(stack: Stack) -> None:
    finish(stack, 3)
    pass_minutes(stack, 5)
    rows = document(stack.command("outbox", "list", "--json"))
    assert {row["request_id"] for row in rows} == {"onb-0", "onb-1", "onb-2"}
    assert all(row["outcome"] == "match" and 300 <= row["age"] < 400 for row in rows)
    table = stack.command("outbox", "list", "--limit", "1")
    assert len(table.stdout.splitlines()) == 2
    assert "no more than 1 row, the oldest first: --limit" in table.stderr
    assert document(stack.command("outbox", "flush", "--json")) == {"sent": 3, "left": 0}
    events = stack.take()
    assert {json.loads(body)["requestId"] for _, _, body in events} == {"onb-0", "onb-1", "onb-2"}
    assert {method.routing_key for method, _, _ in events} == {"to.me"}
    assert document(stack.command("outbox", "list", "--json")) == []
    assert all(row["event_sent_at"] for row in stack.results().values())


def test_a_young_event_is_left_to_its_worker(stack: Stack) -> None:
    finish(stack, 1)
    done = stack.command("outbox", "flush")
    assert done.stdout.split() == ["sent", "0", "left", "1"]
    assert "younger than a minute or held by a relay" in done.stderr
    assert stack.events() == []


def test_an_event_that_a_relay_holds_is_not_sent_twice(stack: Stack) -> None:
    finish(stack, 2)
    pass_minutes(stack, 5)
    as_owner(
        stack,
        """UPDATE verification.request SET event_retry_at = now() + interval '1 min'
            WHERE request_id = 'onb-0'""",
    )
    assert document(stack.command("outbox", "flush", "--json")) == {"sent": 1, "left": 1}
    assert [event["requestId"] for event in stack.events()] == ["onb-1"]


def test_more_than_one_batch_is_sent(stack: Stack) -> None:
    as_owner(
        stack,
        """INSERT INTO verification.request (request_id, fingerprint, source, mode, state,
             outcome, charged, completed_at)
           SELECT 'bulk-' || n, '\\x00', 'default', 'sandbox', 'done', 'no_record', 'no',
             now() - interval '5 min' FROM generate_series(1, 250) AS n""",
    )
    assert document(stack.command("outbox", "flush", "--json")) == {"sent": 250, "left": 0}
    assert len({event["requestId"] for event in stack.events()}) == 250


def test_the_other_modes_events_are_not_ours(stack: Stack) -> None:
    finish(stack, 1)
    pass_minutes(stack, 5)
    as_owner(stack, "UPDATE verification.request SET mode = 'live'")
    assert document(stack.command("outbox", "flush", "--json")) == {"sent": 0, "left": 0}
    assert stack.events() == []
    (row,) = document(stack.command("outbox", "list", "--json"))
    assert row["mode"] == "live"


def test_without_the_exchange_nothing_is_marked(stack: Stack) -> None:
    finish(stack, 1)
    pass_minutes(stack, 5)
    stack.channel.exchange_delete("verification.results")
    done = stack.command("outbox", "flush")
    assert (done.returncode, done.stdout) == (2, "")
    assert "topology apply" in done.stderr
    assert len(document(stack.command("outbox", "list", "--json"))) == 1


def test_no_output_holds_a_persons_data(stack: Stack) -> None:
    finish(stack, 1)
    pass_minutes(stack, 5)
    for arguments in (("list",), ("list", "--json"), ("flush",)):
        done = stack.command("outbox", *arguments)
        assert ID_CARD not in done.stdout + done.stderr
        assert "张" not in done.stdout + done.stderr


def test_retention_works_to_the_end_and_says_what_it_did(stack: Stack) -> None:
    as_owner(
        stack,
        """INSERT INTO verification.request (request_id, fingerprint, source, mode, state, outcome,
             charged, completed_at, event_sent_at, masked_name)
           SELECT 'old-' || n, '\\x00', 'default', 'sandbox', 'done', 'no_record', 'no', old, old,
             '张*' FROM generate_series(1, 1200) AS n,
             LATERAL (SELECT now() - make_interval(days => CASE WHEN n <= 700 THEN 40 ELSE 3 END))
               AS t(old)""",
    )
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
