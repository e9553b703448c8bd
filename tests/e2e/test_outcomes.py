"""Requests from a published message to its row, its event and its ack.

Each outcome's event is in tests/contract/test_golden.py, each end that the provider can give in
tests/chaos/test_provider_faults.py, each fault of a message in
tests/chaos/test_security_injection.py and tests/unit/contract.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.e2e.harness import Stack, request, until

MISMATCH, FAILS_ONCE = "119999194912310013", "119999194912310363"


def event_of(stack: Stack, request_id: str | None) -> dict[str, Any]:
    """Wait for the next event; it must be this request's."""
    until(lambda: stack.depth("collector"))
    event, *others = stack.events()
    assert (event["requestId"], others) == (request_id, [])
    return event


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
