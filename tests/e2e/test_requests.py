"""Which requests there were, by what people ask for."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness import ID_CARD, Stack, request, until

MISMATCH = "119999194912310013"


def test_requests_are_listed_by_outcome_kind_source_and_time(working: Stack) -> None:
    def listed(*options: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = working.document("requests", "list", *options)
        assert ID_CARD not in str(rows)
        return rows

    def ids(*options: str) -> set[str]:
        return {row["request_id"] for row in listed(*options)}

    working.publish(request("old"))
    until(lambda: working.is_sent("old"))
    working.as_owner("UPDATE verification.request SET requested_at = now() - interval '3 days'")
    working.publish(request("match", source="desk"))
    until(lambda: working.is_sent("match"))
    working.publish(request("mismatch", MISMATCH))
    working.publish(request("rejected", "1", source="desk"))
    until(lambda: working.is_sent("mismatch", "rejected"))
    assert ids() == {"match", "mismatch", "rejected"}
    assert ids("--since", "4d") == {"old", "match", "mismatch", "rejected"}
    assert ids("--outcome", "mismatch") == {"mismatch"}
    assert ids("--kind", "invalid_request") == {"rejected"}
    assert ids("--source", "desk", "--since", "1h") == {"match", "rejected"}
    assert ids("--source", "desk", "--outcome", "match") == {"match"}
    assert ids("--source", "nobody") == set()
    (row,) = listed("--outcome", "match")
    assert row["charged"] == "yes"
    assert (row["state"], row["calls"], row["error_kind"], row["check_type"]) == (
        "done",
        1,
        None,
        2,
    )
    for rowless in (("--outcome", "conflict"), ("--kind", "unreadable")):
        assert "turned_away" in working.command("requests", "list", *rowless).stderr
    newest = working.command("requests", "list", "--limit", "1")
    assert "no more than 1 row" in newest.stderr
    assert len(newest.stdout.splitlines()) == 2
