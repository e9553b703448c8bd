"""The count at the end of a soak: broker, database, bill and events against each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.bench.soak_load import MAGIC, Sent
from tests.chaos.invariants import Accounts, read_accounts
from tests.e2e.harness import Stack
from worker.sandbox.charges import subject_digest

# A call about nobody's fault and free: such calls alone may end no request.
_FREE = frozenset("not_sent throttled foreign".split())
# These wait for the longest delay, which is nearest to the seconds that they are left alone for.
_LONG_WAITS = frozenset("not_sent foreign".split())
# The broker's timer against the database's clock.
_SLACK = 1.0


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


def count(stack: Stack, sent: Sent, max_in_doubt_calls: int, delays: tuple[int, ...]) -> list[Line]:
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
    money = Money(accounts, sent, max_in_doubt_calls)
    return [
        Line("messages published and confirmed", sent.messages),
        Line("requests", len(wanted)),
        *(Line(f"  {outcome}", number) for outcome, number in sorted(outcomes.items())),
        *(Line(f"    {kind}", number) for kind, number in sorted(kinds.items())),
        Line("copies", sent.copies),
        Line("events", len(accounts.events)),
        Line("duplicates of events", len(accounts.events) - len(ids)),
        Line("answers without a row (conflicts)", len(accounts.answers)),
        Line("calls in the ledger", sum(len(calls) for calls in accounts.calls.values())),
        Line("calls that the provider saw", accounts.charges["calls"]),
        Line("charges", accounts.charges["charges"]),
        Line("in doubt", accounts.in_doubt),
        Line("lost requests", len(wanted - results.keys()), 0),
        Line("requests still open", open_requests, 0),
        Line("rows that nobody asked for", len(results.keys() - wanted), 0),
        Line("lost events", len(results.keys() - ids.keys()), 0),
        Line("requests with two events", sum(len(each) > 1 for each in ids.values()), 0),
        Line("events that differ from their row", _contradictions(accounts), 0),
        Line("failures without a dead letter", _unkept(accounts), 0),
        Line("dead letters without a failure", _kept_in_vain(accounts), 0),
        Line("rejected that were called", _called(accounts, sent.rejected), 0),
        Line("repeats beyond the limit of doubt", money.too_many_doubts(), 0),
        Line("charges beyond 1 and the allowed doubts", money.too_many_charges(), 0),
        Line("repeated charges without a doubt", money.undoubted_charges(), 0),
        Line("unexplained charges", money.unexplained(), 0),
        Line("calls after an unknown charge, 0 allowed", money.not_allowed(), 0),
        Line("expired requests that were called", _called_late(stack, accounts, sent), 0),
        Line("requests that expired early", _ended_early(stack), 0),
        Line("failed by a foreign page", _burnt(accounts, sent), 0),
        Line("calls before they were due", _hasty(accounts, delays), 0),
        Line("budgets whose tokens are not their calls", _tokens(stack), 0),
    ]


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


def _kept_in_vain(accounts: Accounts) -> int:
    """Count dead letters of requests that have another outcome, and those of the broker's limit."""
    failed = {name for name, row in accounts.results.items() if row["outcome"] == "failed"}
    return sum(
        (name in accounts.results and name not in failed) or reason == "delivery_limit"
        for reason, name in accounts.dead
    )


def _called(accounts: Accounts, rejected: set[str]) -> int:
    return sum(len(accounts.calls.get(request_id, [])) for request_id in rejected)


class Money:
    """What was charged, request by request, against what the ledger says.

    Each ordinary request is about a person of its own, and so is what contradicts it: the
    provider's counts by person are counts by request.
    """

    def __init__(self, accounts: Accounts, sent: Sent, max_in_doubt_calls: int) -> None:
        self._calls = accounts.calls
        self._rows = accounts.results
        self._allowed = max_in_doubt_calls
        self._charges: Counter[str] = Counter()
        """By request, of ordinary ones."""
        persons: dict[str, list[dict[str, Any]]] = defaultdict(list)
        bill = accounts.charges["by_subject"]
        for numbers in (sent.requests, sent.contradicted):
            for request_id, number in numbers.items():
                digest = subject_digest(number)
                persons[digest] += accounts.calls.get(request_id, [])
                if number not in MAGIC.values():
                    self._charges[request_id] += bill.get(digest, {"charges": 0})["charges"]
        self._persons, self._bill = persons, bill

    def too_many_doubts(self) -> int:
        """Count requests with more calls in doubt than may be."""
        return sum(
            sum(call["class"] == "in_doubt" for call in calls) > 1 + self._allowed
            for calls in self._calls.values()
        )

    def too_many_charges(self) -> int:
        """Count charges beyond what a request may cost at worst."""
        return sum(max(0, paid - 1 - self._allowed) for paid in self._charges.values())

    def undoubted_charges(self) -> int:
        """Count charges beyond the first that no doubt of their request's row accounts for."""
        return sum(
            max(0, paid - 1 - self._rows[request_id]["in_doubt_calls"])
            for request_id, paid in self._charges.items()
            if request_id in self._rows
        )

    def unexplained(self) -> int:
        """Count charges that the ledger does not know at least as a possibility."""
        unexplained = 0
        for digest, counts in self._bill.items():
            known = Counter(call["charged"] for call in self._persons.get(digest, []))
            charges = counts["charges"]
            unexplained += max(0, charges - known["yes"] - known["unknown"])
            unexplained += max(0, known["yes"] - charges)
        return unexplained

    def not_allowed(self) -> int:
        """Count calls after one of unknown charge, where no doubt is allowed."""
        if self._allowed > 0:
            return 0
        return sum(
            before["charged"] != "no" for calls in self._calls.values() for before in calls[:-1]
        )


def _called_late(stack: Stack, accounts: Accounts, sent: Sent) -> int:
    """Count calls after a deadline by the database's clock, which is this machine's."""
    late = stack.as_owner(
        """SELECT 1 FROM verification.request AS r
             JOIN verification.provider_call AS c USING (request_id)
            WHERE c.started_at > r.expires_at"""
    )
    seen = accounts.charges["by_subject"]
    late += sum(subject_digest(sent.requests[name]) in seen for name in sent.too_late)
    return late


def _ended_early(stack: Stack) -> int:
    """Count those that ended a minute and more before their deadline; a claim takes less."""
    return stack.as_owner(
        """SELECT 1 FROM verification.request
            WHERE outcome = 'expired'
              AND (expires_at IS NULL OR completed_at < expires_at - interval '1 minute')"""
    )


def _burnt(accounts: Accounts, sent: Sent) -> int:
    """Count ordinary requests that failed though the provider itself never refused one.

    An outage of the provider may end some, and so may doubt; what costs nothing may not.
    """
    return sum(
        row["error_kind"] in ("provider_refused", "protocol_error")
        or (
            row["error_kind"] == "provider_unavailable"
            and all(call["class"] in _FREE for call in accounts.calls.get(name, []))
        )
        for name, row in accounts.results.items()
        if row["outcome"] == "failed" and sent.requests.get(name) not in MAGIC.values()
    )


def _hasty(accounts: Accounts, delays: tuple[int, ...]) -> int:
    """Count calls that came before the wait after the one before was over.

    A take-over ends a call in doubt in the moment in which the next one begins, and a late result
    ends it after that: there is no wait then.
    """
    return sum(
        0 < seconds < (delays[-1] if before["class"] in _LONG_WAITS else delays[0]) - _SLACK
        for calls in accounts.calls.values()
        for before, seconds in _waits(calls)
    )


def _waits(calls: list[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], float]]:
    for before, after in pairwise(calls):
        if before["finished_at"] is not None:
            yield before, (after["started_at"] - before["finished_at"]).total_seconds()


def _tokens(stack: Stack) -> int:
    """Count the budgets whose tokens differ from the calls that were or may be sent.

    None where a day of the budget ended meanwhile: a call's token may be of the one or the other.
    """
    return stack.as_owner(
        """SELECT 1 FROM verification.call_quota AS q
            WHERE q.day = (SELECT (min(started_at) AT TIME ZONE 'Asia/Shanghai')::date
                             FROM verification.provider_call)
              AND q.calls_today <> (SELECT count(*) FROM verification.provider_call AS c
                                     WHERE c.mode = q.mode AND c.class <> 'not_sent')"""
    )
