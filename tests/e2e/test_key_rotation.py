"""DIGEST_KEY is rotated under a running load: no request is lost, contradicted or paid again."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.harness import ID_CARD, Stack, request, until

NEW = "the next key of the tests, of 32 characters too"
UNAVAILABLE_ONCE = "119999194912310363"  # the sandbox: 503 once, then a match
UNAVAILABLE_TWICE = "119999194912310371"
# No outage: so many 503 are these requests' own.
STEADY = {"BREAKER_FAILURES": "1000"}
PEOPLE = [f"{family}{given}" for family in "赵钱孙李周吴郑王" for given in "一二三四五"]


def test_a_rotation_keeps_what_is_known_and_what_waits(stack: Stack) -> None:
    old = stack.environment["DIGEST_KEY"]
    worker = stack.start_worker(**STEADY)
    stack.publish(request("done"))
    stack.publish(request("waits", UNAVAILABLE_TWICE))
    until(lambda: stack.count() == 1 and stack.rows(_WAITING))
    assert worker.stop() == 0
    stack.environment |= {"DIGEST_KEY": NEW, "DIGEST_KEY_FALLBACKS": old}
    worker = stack.start_worker(**STEADY)
    stack.publish(request("done"))
    stack.publish(request("contradicts"))
    stack.publish(request("done", name="李四"))
    until(lambda: stack.depth("collector") >= 5)
    assert {each["requestId"]: each["outcome"] for each in stack.events()} == {
        "done": "conflict",  # the last of its three
        "waits": "match",
        "contradicts": "match",
    }
    printed = stack.command("digest", text=f"{ID_CARD.lower()}\n").stdout.split()
    assert len(printed) == 2
    query = "SELECT request_id FROM verification_v1.results WHERE subject_digest = ANY(%s)"
    digests = [bytes.fromhex(each) for each in printed]
    found = {row["request_id"] for row in stack.rows(query, digests)}
    assert found == {"done", "contradicts"}
    keys = stack.command("digest", "--keys").stdout.split()
    assert keys[1::2] == ["current", "fallback"]
    assert keys[0] in worker.lines[0]
    assert stack.provider.charges()["charges"] == 3
    # Both are erased, whichever key their digests stand under.
    until(lambda: stack.is_sent("done", "waits", "contradicts"))
    assert stack.document("erase", "--yes", text=ID_CARD)["requests"] == 2


_WAITING = "SELECT 1 AS n FROM verification_v1.open_requests WHERE state = 'waiting'"


def test_workers_of_both_keys_side_by_side_contradict_nothing(stack: Stack) -> None:
    """As in a rolling update in one step: the old workers do not know the new key."""
    old = stack.environment["DIGEST_KEY"]
    stack.start_worker(**STEADY)
    stack.start_worker(**STEADY, DIGEST_KEY=NEW, DIGEST_KEY_FALLBACKS=old)
    for name in PEOPLE:
        stack.publish(request(f"onb-{name}", UNAVAILABLE_ONCE, name))
    # What begins under the new key can only go on under it, so all of it takes a while.
    until(lambda: stack.count() == len(PEOPLE))
    until(lambda: stack.depth("collector") >= len(PEOPLE))
    events = stack.events()
    assert {each["outcome"] for each in events} == {"match"}
    assert {each["requestId"] for each in events} == {f"onb-{name}" for name in PEOPLE}
    assert stack.provider.charges()["charges"] == len(PEOPLE)
    assert stack.depth("verification.dead") == 0


def test_the_providers_credentials_are_replaced_while_a_worker_runs(
    stack: Stack, tmp_path: Path
) -> None:
    """A platform replaces the file: the worker resumes by itself, and nothing has failed."""
    file, fresh = tmp_path / "secret-key", tmp_path / "fresh"
    file.write_text("not-the-key")
    fresh.write_text(stack.environment["PROVIDER_SECRET_KEY"])
    worker = stack.start_worker(
        PROVIDER_SECRET_KEY="", PROVIDER_SECRET_KEY_FILE=str(file), PROBE_SECONDS="1"
    )
    stack.publish(request("waits"))
    until(lambda: worker.said('"reason":"credentials"'))
    fresh.replace(file)
    until(lambda: worker.said("credentials.renewed"), 120)
    until(lambda: stack.depth("collector") == 1, 180)  # a parked worker probes every two minutes
    (event,) = stack.events()
    assert (event["outcome"], stack.provider.charges()["charges"]) == ("match", 1)
    assert worker.stop() == 0
