"""REUSE_RESULTS_FOR: the same person, check type and data are paid once in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.harness import request, until

if TYPE_CHECKING:
    from tests.e2e.harness import Stack


def test_a_paid_answer_is_given_again_and_says_from_where(stack: Stack) -> None:
    stack.collect_events()
    stack.start_worker(REUSE_RESULTS_FOR="24h")
    stack.publish(request("first", source="web"))
    until(lambda: stack.depth("collector") == 1)
    stack.publish(request("second", source="branch"))
    stack.publish(request("other-data", name="李四"))
    until(lambda: stack.depth("collector") == 3)
    events = {each["requestId"]: each for each in stack.events()}
    first, second, other = (events[each] for each in ("first", "second", "other-data"))
    assert "reusedFrom" not in first
    assert "reusedFrom" not in other
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


def test_it_is_off_unless_it_is_set(stack: Stack) -> None:
    stack.start_worker()
    stack.publish(request("first"))
    until(lambda: stack.count() == 1)
    stack.publish(request("second"))
    until(lambda: stack.count() == 2)
    assert stack.provider.charges()["charges"] == 2
    assert stack.results()["second"]["reused_from"] is None
