"""The count at the end of a soak: broker, database, bill and events against each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.invariants import Accounts, read_accounts
from worker.sandbox.charges import subject_digest

if TYPE_CHECKING:
    from tests.bench.soak_load import Sent
    from tests.e2e.harness import Stack

MAX_IN_DOUBT_CALLS = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One figure; where `wanted` is set, any other one is a broken promise."""

    name: str
    value: object
    wanted: object = None

    @property
    def holds(self) -> bool:
        """Whether it is as promised."""
        return self.wanted is None or self.value == self.wanted


def count(stack: Stack, sent: Sent) -> list[Line]:
    """Return the table; the workers have stopped and the queues are empty."""
    accounts = read_accounts(stack)
    open_requests = stack.count("open_requests")
    ids = defaultdict(set)
    for event in accounts.events:
        ids[event["requestId"]].add(event["eventId"])
    wanted = set(sent.requests)
    results = accounts.results
    outcomes = Counter(row["outcome"] for row in results.values())
    kinds = Counter(row["error_kind"] for row in results.values() if row["outcome"] == "failed")
    return [
        Line("messages published and confirmed", sent.messages),
        Line("requests", len(wanted)),
        *(Line(f"  {outcome}", number) for outcome, number in sorted(outcomes.items())),
        *(Line(f"    {kind}", number) for kind, number in sorted(kinds.items())),
        Line("events", len(accounts.events)),
        Line("duplicates of events", len(accounts.events) - len(ids)),
        Line("answers without a row (conflicts)", len(accounts.answers)),
        Line("calls in the ledger", sum(len(calls) for calls in accounts.calls.values())),
        Line("calls that the provider saw", accounts.charges["calls"]),
        Line("contradictions that came first", _overtaken(accounts, sent)),
        Line("most calls in any minute", accounts.charges["max_calls_per_minute"]),
        Line("charges", accounts.charges["charges"]),
        Line("in doubt", accounts.in_doubt),
        Line("lost requests", len(wanted - results.keys()), 0),
        Line("requests still open", open_requests, 0),
        Line("rows that nobody asked for", len(results.keys() - wanted), 0),
        Line("lost events", len(results.keys() - ids.keys()), 0),
        Line("requests with two events", sum(len(each) > 1 for each in ids.values()), 0),
        Line("events that differ from their row", _contradictions(accounts), 0),
        Line("failures without a dead letter", _unkept(accounts), 0),
        Line("rejected that were called", _called(accounts, sent.rejected), 0),
        Line("repeats beyond the limit of doubt", _too_many_doubts(accounts), 0),
        Line("unexplained charges", _unexplained(accounts, sent), 0),
    ]


def _overtaken(accounts: Accounts, sent: Sent) -> int:
    """Count contradictions that were served; the first request then got the conflict."""
    called = accounts.charges["by_subject"]
    return sum(subject_digest(number) in called for number in sent.contradicted.values())


def _contradictions(accounts: Accounts) -> int:
    return sum(
        event["outcome"] != accounts.results[event["requestId"]]["outcome"]
        for event in accounts.events
        if event["requestId"] in accounts.results
    )


def _unkept(accounts: Accounts) -> int:
    kept = {request_id for _, request_id in accounts.dead}
    return sum(
        row["outcome"] == "failed" and row["error_kind"] != "provider_refused" and name not in kept
        for name, row in accounts.results.items()
    )


def _called(accounts: Accounts, rejected: set[str]) -> int:
    return sum(len(accounts.calls.get(request_id, [])) for request_id in rejected)


def _too_many_doubts(accounts: Accounts) -> int:
    return sum(
        sum(call["class"] == "in_doubt" for call in calls) > 1 + MAX_IN_DOUBT_CALLS
        for calls in accounts.calls.values()
    )


def _unexplained(accounts: Accounts, sent: Sent) -> int:
    """Count charges that the ledger does not know at least as a possibility, person by person.

    Each ordinary request is about a person of its own, and so is what contradicts it: the
    provider's counts by person are counts by request.
    """
    persons: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for numbers in (sent.requests, sent.contradicted):
        for request_id, number in numbers.items():
            persons[subject_digest(number)] += accounts.calls.get(request_id, [])
    unexplained = 0
    for digest, counts in accounts.charges["by_subject"].items():
        known = Counter(call["charged"] for call in persons.get(digest, []))
        charges = counts["charges"]
        unexplained += max(0, charges - known["yes"] - known["unknown"])
        unexplained += max(0, known["yes"] - charges)
    return unexplained
