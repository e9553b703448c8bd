"""All that the sandbox can do to a worker: each request ends as documented, and is paid once.

Where an end is open, the request waits: what fails for everybody costs nobody an attempt.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest

from tests.chaos.invariants import Accounts, finish, read_accounts
from tests.e2e.harness import REQUESTS, Stack, request, until
from worker.sandbox.charges import subject_digest
from worker.sandbox.magic import BY_NAME

# What hangs or drips costs so long, and no machine is too busy for an answer within it.
DEADLINE = {"CALL_DEADLINE": "6", "CONCURRENCY": "16"}
UNLISTED = "119999199001010012"
"""An ID number that the sandbox does not list: a match."""


class End(NamedTuple):
    """How a request ends: its row, and what the sandbox has counted for its person."""

    outcome: str
    charged: str
    calls: int
    charges: int
    kind: str | None = None


MATCHED = End("match", "yes", 1, 1)
FAILED_FOUR_TIMES = End("failed", "unknown", 4, 0, "provider_unavailable")
CONTRADICTION = End("failed", "yes", 1, 1, "protocol_error")
IN_DOUBT_FREE = End("failed", "unknown", 2, 0, "in_doubt")
IN_DOUBT_PAID = End("failed", "unknown", 2, 2, "in_doubt")

ENDS = {
    "match": MATCHED,
    "mismatch": End("mismatch", "yes", 1, 1),
    "no_record": End("no_record", "no", 1, 0),
    "exception_uncharged": FAILED_FOUR_TIMES._replace(charged="no"),
    "exception_charged": End("failed", "yes", 1, 1, "charged_without_answer"),
    "exception_unknown": FAILED_FOUR_TIMES,
    "contradictory": CONTRADICTION,
    "success_missing": CONTRADICTION,
    "success_text": CONTRADICTION,
    "flat": MATCHED,
    "detail_json": MATCHED,
    "detail_object": MATCHED,
    "detail_text": MATCHED,
    "echo": MATCHED,
    "forbidden_answer": End("mismatch", "yes", 1, 1),
    "invalid_argument": End("failed", "no", 1, 0, "provider_refused"),
    "internal": FAILED_FOUR_TIMES,
    "unavailable": FAILED_FOUR_TIMES,
    "html": IN_DOUBT_FREE,
    "empty": IN_DOUBT_FREE,
    "not_an_object": IN_DOUBT_FREE,
    "hang_before_charge": IN_DOUBT_FREE,
    "hang_after_charge": IN_DOUBT_PAID,
    "reset_before_charge": IN_DOUBT_FREE,
    "reset_after_charge": IN_DOUBT_PAID,
    "truncated": IN_DOUBT_PAID,
    "slow": MATCHED,
    "dripping": IN_DOUBT_PAID,
    "dripping_head": IN_DOUBT_PAID,
    "huge": IN_DOUBT_PAID,
    "recovers_after_1": MATCHED._replace(calls=2),
    "recovers_after_2": MATCHED._replace(calls=3),
    "nonce_conflict_once": MATCHED,
    "exception_once": MATCHED._replace(calls=2),
    "hang_once": MATCHED._replace(calls=2, charges=2),
    "reset_once": MATCHED._replace(calls=2, charges=2),
    "reset_once_uncharged": MATCHED._replace(calls=2),
}
# They fail for everybody, so the worker waits: for ever, where the sandbox never relents.
WAITS = {
    "access_error": "credentials",
    "fail": "credentials",
    "nonce_conflict": "credentials",
    "rate_limited": "throttled",
    "rate_limited_silent": "throttled",
    "quota_exceeded": "quota",
    "unavailable_page": "foreign",  # and whether it was charged is unknown
    "redirect": "foreign",
}
# It passes: after a wait that the call itself may have time for, or not.
PASSES = ("access_error_once", "rate_limited_once")
UNKNOWN_ONCE = ("recovers_after_1", "recovers_after_2", "reset_once_uncharged")


def publish(stack: Stack, name: str) -> None:
    """Ask about the person for whom the sandbox behaves so."""
    stack.publish(request(name, BY_NAME[name].id_card))


def assert_person_is_paid_for(accounts: Accounts, name: str) -> None:
    """Compare the sandbox's counts of one person with the ledger's calls for them."""
    calls = accounts.calls[name]
    counted = accounts.charges["by_subject"][subject_digest(BY_NAME[name].id_card)]
    charged = Counter(call["charged"] for call in calls)
    assert counted["calls"] == sum(call["sends"] for call in calls), name
    assert charged["yes"] <= counted["charges"] <= charged["yes"] + charged["unknown"], name


def test_every_behaviour_of_the_sandbox_has_a_documented_end() -> None:
    assert {*ENDS, *WAITS, *PASSES} == set(BY_NAME)


@pytest.mark.parametrize("max_in_doubt_calls", [1, 0, 2])
def test_when_the_provider_does_all_that_it_can_then_each_request_ends_as_documented(
    stack: Stack, max_in_doubt_calls: int
) -> None:
    allowed = {"MAX_IN_DOUBT_CALLS": str(max_in_doubt_calls)}
    ends = {name: under(end, name, max_in_doubt_calls) for name, end in ENDS.items()}
    for name in ends:
        publish(stack, name)
    # So many failures in a row would be an outage, in which none is counted.
    worker = stack.start_worker(**DEADLINE, **allowed, BREAKER_FAILURES="1000")
    accounts = finish(stack, ends, worker, doubts=max_in_doubt_calls)
    for name, end in ends.items():
        row = accounts.results[name]
        charges = accounts.charges["by_subject"][subject_digest(BY_NAME[name].id_card)]["charges"]
        found = End(row["outcome"], row["charged"], row["calls"], charges, row["error_kind"])
        assert found == end, name
        assert_person_is_paid_for(accounts, name)


def under(end: End, name: str, max_in_doubt_calls: int) -> End:
    """Return the end where a call in doubt may be repeated so often."""
    if max_in_doubt_calls == 1:
        return end
    if end.kind == "in_doubt":
        calls = 1 + max_in_doubt_calls
        return end._replace(calls=calls, charges=calls if end.charges else 0)
    if max_in_doubt_calls > 0:
        return end
    # No call follows one whose charge is unknown.
    if name in ("hang_once", "reset_once"):
        return IN_DOUBT_PAID._replace(calls=1, charges=1)
    if end == FAILED_FOUR_TIMES or name in UNKNOWN_ONCE:
        return IN_DOUBT_FREE._replace(calls=1)
    return end


def publish_others(stack: Stack, name: str) -> set[str]:
    """Publish as many matches as tell a worker that all is well again, and return their ids."""
    others = {f"after-{name}-{number}" for number in range(25)}
    stack.publish_many(request(each, UNLISTED) for each in others)
    return others


@pytest.mark.parametrize("name", PASSES)
def test_when_all_calls_fail_once_then_nothing_is_lost_or_counted(stack: Stack, name: str) -> None:
    publish(stack, name)
    others = publish_others(stack, name)
    worker = stack.start_worker(PROBE_SECONDS="0.2")
    accounts = finish(stack, {*others, name}, worker)
    assert accounts.count("match") == accounts.charges["charges"] == len(others) + 1
    assert accounts.results[name]["charged"] == "yes"
    assert_person_is_paid_for(accounts, name)


def test_when_the_provider_fails_everybody_then_requests_wait_uncounted_and_others_go_on(
    stack: Stack,
) -> None:
    # What was refused stays away for the test; what was only held up comes back soon.
    delays = "1s", "5s", "90s"
    worker = stack.start_worker(PROBE_SECONDS="0.2", RETRY_DELAYS=",".join(delays))
    others: set[str] = set()
    ended = "SELECT 1 FROM verification_v1.calls WHERE request_id = %s AND finished_at IS NOT NULL"
    for name in WAITS:
        publish(stack, name)
        until(lambda name=name: stack.rows(ended, name))  # type: ignore[misc]
        others |= publish_others(stack, name)
        until(lambda others=others: others <= stack.results().keys())  # type: ignore[misc]
    assert worker.stop() == 0

    query = "SELECT * FROM verification_v1.open_requests"
    waiting = {row["request_id"]: row for row in stack.rows(query)}
    accounts = read_accounts(stack)
    queues = [REQUESTS, *(f"verification.retry.{delay}" for delay in delays)]
    assert set(waiting) == set(WAITS)
    assert sum(stack.depth(queue) for queue in queues) == len(WAITS)
    assert accounts.count("match") == accounts.charges["charges"] == len(others)
    assert {event["requestId"] for event in accounts.events} == others
    assert accounts.dead == []
    for name, call_class in WAITS.items():
        row = waiting[name]
        # Others were served when it was refused: it may be this request alone.
        counted = int(call_class in ("credentials", "quota"))
        said = (row["state"], row["attempts"], row["in_doubt_calls"])
        assert said == ("waiting", counted, 0), name
        charged = "unknown" if name == "unavailable_page" else "no"
        assert row["charged"] == charged, name
        sent = [call for call in accounts.calls[name] if call["sends"]]
        assert {(call["class"], call["charged"]) for call in sent} == {(call_class, charged)}, name
        assert_person_is_paid_for(accounts, name)
