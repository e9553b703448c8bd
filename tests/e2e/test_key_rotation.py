"""DIGEST_KEY is rotated under a running load: no request is lost, contradicted or paid again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.e2e.harness import ID_CARD, request, until

if TYPE_CHECKING:
    from tests.e2e.harness import House

NEW = "the next key of the tests, of 32 characters too"
UNAVAILABLE_ONCE = "119999194912310363"  # the sandbox: 503 once, then a match
UNAVAILABLE_TWICE = "119999194912310371"
# No outage: so many 503 are these requests' own.
STEADY = {"BREAKER_FAILURES": "1000"}
PEOPLE = [f"{family}{given}" for family in "赵钱孙李周吴郑王" for given in "一二三四五"]


def test_a_rotation_keeps_what_is_known_and_what_waits(house: House) -> None:
    old = house.environment["DIGEST_KEY"]
    house.collect_events()
    worker = house.start_worker(**STEADY)
    house.publish(request("done"))
    house.publish(request("waits", UNAVAILABLE_TWICE))
    until(lambda: house.count() == 1 and house.rows(_WAITING))
    assert worker.stop() == 0
    house.environment |= {"DIGEST_KEY": NEW, "DIGEST_KEY_FALLBACKS": old}
    worker = house.start_worker(**STEADY)
    house.publish(request("done"))
    house.publish(request("contradicts"))
    house.publish(request("done", name="李四"))
    until(lambda: house.depth("collector") >= 5)
    assert {each["requestId"]: each["outcome"] for each in house.events()} == {
        "done": "conflict",  # the last of its three
        "waits": "match",
        "contradicts": "match",
    }
    printed = house.command("digest", text=f"{ID_CARD}\n").stdout.split()
    assert len(printed) == 2
    query = "SELECT request_id FROM verification_v1.results WHERE subject_digest = ANY(%s)"
    digests = [bytes.fromhex(each) for each in printed]
    found = {row["request_id"] for row in house.rows(query, digests)}
    assert found == {"done", "contradicts"}
    keys = house.command("digest", "--keys").stdout.split()
    assert keys[1::2] == ["current", "fallback"]
    assert keys[0] in worker.lines[0]
    assert house.provider.charges()["charges"] == 3
    # Both are erased, whichever key their digests stand under.
    until(lambda: len(house.rows(_SENT)) == 3)
    erased = house.command("erase", "--yes", "--json", text=ID_CARD)
    assert json.loads(erased.stdout)["requests"] == 2, erased.stderr


_SENT = "SELECT 1 AS n FROM verification_v1.results WHERE event_sent_at IS NOT NULL"
_WAITING = "SELECT 1 AS n FROM verification_v1.open_requests WHERE state = 'waiting'"


def test_workers_of_both_keys_side_by_side_contradict_nothing(house: House) -> None:
    """As in a rolling update in one step: the old workers do not know the new key."""
    old = house.environment["DIGEST_KEY"]
    house.collect_events()
    house.start_worker(**STEADY)
    house.start_worker(**STEADY, DIGEST_KEY=NEW, DIGEST_KEY_FALLBACKS=old)
    for name in PEOPLE:
        house.publish(request(f"onb-{name}", UNAVAILABLE_ONCE, name))
    # What begins under the new key can only go on under it, so all of it takes a while.
    until(lambda: house.count() == len(PEOPLE), 60)
    until(lambda: house.depth("collector") >= len(PEOPLE))
    events = house.events()
    assert {each["outcome"] for each in events} == {"match"}
    assert {each["requestId"] for each in events} == {f"onb-{name}" for name in PEOPLE}
    assert house.provider.charges()["charges"] == len(PEOPLE)
    assert house.depth("verification.dead") == 0
