"""REUSE_RESULTS_FOR: the same person, check type and data are paid once in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.harness import request, until

if TYPE_CHECKING:
    from tests.e2e.harness import House


def test_a_paid_answer_is_given_again_and_says_from_where(house: House) -> None:
    house.collect_events()
    house.start_worker(REUSE_RESULTS_FOR="24h")
    house.publish(request("first", source="web"))
    until(lambda: house.depth("collector") == 1)
    house.publish(request("second", source="branch"))
    house.publish(request("other-data", name="李四"))
    until(lambda: house.depth("collector") == 3)
    events = {each["requestId"]: each for each in house.events()}
    first, second, other = (events[each] for each in ("first", "second", "other-data"))
    assert "reusedFrom" not in first
    assert "reusedFrom" not in other
    assert second["reusedFrom"] == "first"
    assert (second["charged"], second["calls"], second["source"]) == ("no", 0, "branch")
    for field in ("outcome", "authInfo", "providerRequestId", "checkType", "mode"):
        assert second[field] == first[field]
    row = house.results()["second"]
    assert (row["reused_from"], row["charged"], row["calls"]) == ("first", "no", 0)
    assert house.provider.charges()["charges"] == 2
    told = house.command("explain", "second").stdout
    assert "reused the answer of first" in told
    assert "not charged" in told


def test_it_is_off_unless_it_is_set(house: House) -> None:
    house.start_worker()
    house.publish(request("first"))
    until(lambda: house.count() == 1)
    house.publish(request("second"))
    until(lambda: house.count() == 2)
    assert house.provider.charges()["charges"] == 2
    assert house.results()["second"]["reused_from"] is None
