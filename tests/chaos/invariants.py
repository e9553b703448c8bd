"""What must hold when all is settled, whatever was killed, cut or restarted on the way."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tests.e2e.harness import DEAD, RETRY_QUEUES, Process, Stack, until

DEAD_LETTERED = frozenset(
    "in_doubt provider_unavailable protocol_error charged_without_answer unstorable".split()
)
"""Kinds of failure after which the message is kept for a person to see."""
_FREE = frozenset("not_sent throttled foreign credentials quota".split())
_COUNTED = frozenset("unavailable source_failed".split())


@dataclass(frozen=True, slots=True)
class Accounts:
    """What all sides say at the end."""

    results: dict[str, dict[str, Any]]
    """Rows with an outcome, by request id."""
    calls: dict[str, list[dict[str, Any]]]
    """The ledger's calls, by request id."""
    events: list[dict[str, Any]]
    """Events of rows, repeats too."""
    answers: list[dict[str, Any]]
    """Events that have no row: of conflicts and of what could not be read."""
    dead: list[tuple[str, str | None]]
    """Reason and request id (null where unreadable) of each message in the dead-letter queue."""
    charges: dict[str, Any]
    """The sandbox's counts."""

    @property
    def in_doubt(self) -> int:
        """Calls of which nobody knows whether they were charged."""
        return sum(call["class"] == "in_doubt" for calls in self.calls.values() for call in calls)

    @property
    def paid(self) -> int:
        """Charges that the rows' outcomes make necessary: the bill without any mishap."""
        return sum(
            row["outcome"] in ("match", "mismatch") or row["error_kind"] == "charged_without_answer"
            for row in self.results.values()
        )

    def count(self, outcome: str) -> int:
        """Count the rows with this outcome."""
        return sum(row["outcome"] == outcome for row in self.results.values())


def settle(stack: Stack, request_ids: Collection[str], events: int = 0) -> None:
    """Wait until all requests have an outcome, so many events are there and no queue holds any."""
    expected = set(request_ids)
    until(lambda: stack.count() >= len(expected))
    until(lambda: stack.depth("collector") >= max(events, len(expected)))
    until(lambda: not stack.waiting())


def finish(
    stack: Stack, request_ids: Collection[str], *workers: Process, events: int = 0, doubts: int = 1
) -> Accounts:
    """Wait until all is settled, stop the workers, and find nothing lost.

    So many calls in doubt may be repeated.
    """
    settle(stack, request_ids, events)
    for worker in workers:
        assert worker.stop() == 0
    return assert_nothing_lost(stack, request_ids, max_in_doubt_calls=doubts)


def assert_nothing_lost(
    stack: Stack, request_ids: Collection[str], *, max_in_doubt_calls: int = 1
) -> Accounts:
    """Compare rows, ledger, events, queues and the bill; takes all events and dead letters.

    `request_ids` are the ids of all requests that must have a row, of readable messages. Call it
    when the workers have stopped: a message that one of them holds stands in no queue's count.
    """
    accounts = read_accounts(stack)
    assert stack.waiting() == 0, "a message was left in a queue"
    assert stack.rows("SELECT * FROM verification_v1.open_requests") == []
    wanted, found = set(request_ids), accounts.results.keys()
    assert found == wanted, f"missing {wanted - found}, strange {found - wanted}"
    _assert_all_announced(accounts)
    _assert_failures_are_kept(accounts)
    _assert_ledger_explains_bill(accounts)
    for calls in accounts.calls.values():
        _assert_repeats_are_few(calls, max_in_doubt_calls)
    return accounts


def read_accounts(stack: Stack) -> Accounts:
    """Read all sides; takes the collected events and the dead letters."""
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ledger = "SELECT * FROM verification_v1.calls ORDER BY request_id, call_number"
    for call in stack.rows(ledger):
        calls[call["request_id"]].append(call)
    events: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for event in stack.events():
        has_row = event["requestId"] is not None and event["outcome"] != "conflict"
        (events if has_row else answers).append(event)
    return Accounts(
        stack.results(), dict(calls), events, answers, _dead(stack), stack.provider.charges()
    )


def _dead(stack: Stack) -> list[tuple[str, str | None]]:
    letters = []
    for _, properties, body in stack.take(DEAD):
        try:
            request_id = json.loads(body)["requestId"]
        except (ValueError, LookupError, TypeError):
            request_id = properties.message_id
        # What the broker itself has given up has no reason of ours.
        letters.append((str(properties.headers.get("reason", "delivery_limit")), request_id))
    return letters


def _assert_all_announced(accounts: Accounts) -> None:
    """Check that a request's events carry one id of their own and say what its row says."""
    ids: dict[str, set[str]] = defaultdict(set)
    for event in accounts.events:
        request_id = event["requestId"]
        ids[request_id].add(event["eventId"])
        row = accounts.results[request_id]
        said = (event["outcome"], event["charged"], event["calls"])
        assert said == (row["outcome"], row["charged"], row["calls"]), request_id
        assert (event["error"] or {}).get("kind") == row["error_kind"], request_id
    silent = accounts.results.keys() - ids.keys()
    assert not silent, f"never announced: {silent}"
    assert all(len(each) == 1 for each in ids.values()), "a request has two event ids"
    assert len(set[str]().union(*ids.values())) == len(accounts.results)


def _assert_failures_are_kept(accounts: Accounts) -> None:
    """Compare what was given up with what stands in the dead-letter queue: neither has more."""
    given_up = {
        (row["error_kind"], request_id)
        for request_id, row in accounts.results.items()
        if row["outcome"] == "failed" and row["error_kind"] in DEAD_LETTERED
    }
    kept = {(reason, name) for reason, name in accounts.dead if name in accounts.results}
    assert kept == given_up, f"no dead letter {given_up - kept}, no failure {kept - given_up}"


def _assert_ledger_explains_bill(accounts: Accounts) -> None:
    """Find every call and charge of the sandbox's in the ledger, at least as a doubt."""
    ledger = [call for calls in accounts.calls.values() for call in calls]
    assert all(call["finished_at"] is not None for call in ledger), "a call has no end"
    assert accounts.charges["refused"] == 0, "the sandbox refused a signature"
    assert accounts.charges["calls"] <= sum(max(1, call["sends"]) for call in ledger)
    charged = Counter(call["charged"] for call in ledger)
    charges = accounts.charges["charges"]
    assert charged["yes"] <= charges <= charged["yes"] + charged["unknown"]
    assert accounts.paid <= charges <= len(accounts.results) + accounts.in_doubt
    for request_id, row in accounts.results.items():
        assert row["calls"] == len(accounts.calls.get(request_id, [])), request_id


def _assert_repeats_are_few(calls: list[dict[str, Any]], max_in_doubt_calls: int) -> None:
    """Check that a call that may have been paid for is repeated as often as allowed, no more."""
    classes = Counter(call["class"] for call in calls)
    told = f"{calls[0]['request_id']}: {dict(classes)}"
    assert classes["in_doubt"] <= 1 + max_in_doubt_calls, told
    final = [call for call in calls if call["class"] not in _FREE | _COUNTED]
    assert len(final) <= 1 + max_in_doubt_calls, told
    assert sum(classes[each] for each in _COUNTED) <= 1 + len(RETRY_QUEUES), told
