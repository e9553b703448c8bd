"""Requests from a published message to its row, its event and its ack.

Each end that the provider can give a request is in tests/chaos/test_provider_faults.py, each fault
of a message in tests/chaos/test_security_injection.py and tests/unit/contract.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.e2e.harness import Stack, request, run_program, until

MISMATCH, FAILS_ONCE = "119999194912310013", "119999194912310363"


def event_of(stack: Stack, request_id: str | None) -> dict[str, Any]:
    """Wait for the next event; it must be this request's."""
    until(lambda: stack.depth("collector"))
    event, *others = stack.events()
    assert (event["requestId"], others) == (request_id, [])
    return event


@pytest.mark.parametrize(
    ("name", "changes", "outcome", "charged", "calls"),
    [
        ("matches", {}, "match", "yes", 1),
        # Our own checks: nothing is sent.
        ("faulty", {"id_card": "110105194912310021"}, "rejected", "no", 0),
        ("late", {"expiresAt": "2020-01-01T00:00:00Z"}, "expired", "no", 0),
    ],
)
def test_a_request_ends_in_one_outcome_with_a_row_and_an_event(
    working: Stack, name: str, changes: dict[str, Any], outcome: str, charged: str, calls: int
) -> None:
    working.publish(request(name, source="onboarding-web", context={"applicant": 42}, **changes))
    event = event_of(working, name)
    row = working.results()[name]
    assert event["outcome"] == row["outcome"] == outcome
    assert (event["charged"], event["calls"]) == (row["charged"], row["calls"]) == (charged, calls)
    assert (event["error"] or {}).get("kind") == row["error_kind"]
    if outcome != "rejected":
        assert event["context"] == row["context"] == {"applicant": 42}
    assert working.provider.charges()["calls"] == calls


def test_ids_that_look_the_same_are_not_paid_twice(working: Stack) -> None:
    ids = ["onb-\u00e9", "onb-e\u0301", "onb-\u00e9 "]
    working.publish_many([request(each) for each in ids])
    until(lambda: working.depth("collector") == len(ids))
    events = {event["requestId"]: event for event in working.events()}
    assert [events[each]["outcome"] for each in ids] == ["match", "rejected", "rejected"]
    assert [events[each]["charged"] for each in ids] == ["yes", "no", "no"]
    assert working.provider.charges()["calls"] == 1
    assert working.results().keys() >= set(ids)
    # The same data again under such an id has the same answer, like every other repeat.
    working.publish(request(ids[2]))
    assert event_of(working, ids[2]) == events[ids[2]]


def test_what_leaves_no_row_is_counted_by_source_and_reason_and_what_is_fine_is_not(
    stack: Stack,
) -> None:
    worker = stack.start_worker()
    stack.publish(request("onb-1", source="web"))
    until(lambda: stack.depth("collector") == 1)
    stack.publish(request("onb-1", name="李四", source="app"))
    stack.publish({**request("onb-2", source="web"), "requestId": None})
    for _ in range(2):
        stack.publish(b"no JSON")
    until(lambda: stack.depth("collector") == 5)
    assert worker.stop() == 0
    rows = stack.rows("SELECT source, reason, messages FROM verification_v1.turned_away")
    assert {tuple(row.values()) for row in rows} == {
        ("app", "conflict", 1),
        ("web", "no_usable_id", 1),
        (None, "not_json", 2),
    }


def test_a_packed_request_is_unpacked_again_after_a_retry(working: Stack) -> None:
    working.publish(
        gzip.compress(json.dumps(request("packed", FAILS_ONCE)).encode()), content_encoding="gzip"
    )
    row = until(lambda: working.results().get("packed"))
    assert (row["outcome"], row["calls"]) == ("match", 2)


def test_a_foreign_client_publishes_and_reads_its_event(working: Stack) -> None:
    working.channel.queue_declare("foreign", durable=True)
    working.channel.queue_bind("foreign", "verification.results", "shell.client")
    url, message = f"--url={working.amqp_url}", json.dumps(request("foreign"), ensure_ascii=False)
    publish = ("amqp-publish", url, "-e", "verification.requests", "-r", "x", "-t", "shell.client")
    assert run_program(*publish, text=message).returncode == 0
    until(lambda: working.depth("foreign"))
    consumed = run_program("amqp-consume", url, "-q", "foreign", "-c", "1", "cat")
    assert json.loads(consumed.stdout)["outcome"] == "match"


def test_a_paid_answer_is_given_again_within_its_window_and_says_from_where(stack: Stack) -> None:
    stack.start_worker(REUSE_RESULTS_FOR="24h")
    stack.publish(request("first", source="web"))
    first = event_of(stack, "first")
    stack.publish(request("second", source="branch"))
    stack.publish(request("other-data", name="李四"))
    until(lambda: stack.depth("collector") == 2)
    events = {each["requestId"]: each for each in stack.events()}
    second, other = events["second"], events["other-data"]
    assert "reusedFrom" not in {**first, **other}
    assert second["reusedFrom"] == "first"
    assert (second["charged"], second["calls"], second["source"]) == ("no", 0, "branch")
    for field in ("outcome", "authInfo", "providerRequestId", "checkType", "mode"):
        assert second[field] == first[field]
    row = stack.results()["second"]
    assert (row["reused_from"], row["charged"], row["calls"]) == ("first", "no", 0)
    assert stack.provider.charges()["charges"] == 2
    told = stack.command("explain", "second").stdout
    assert "reused the answer of first" in told
    assert "not charged" in told
