"""A worker that is killed over a backlog: what it left, and how another one comes after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.chaos.invariants import Accounts, assert_nothing_lost, settle
from tests.e2e.harness import ID_CARD, Process, Stack, request, until

MISMATCH, NO_RECORD, REFUSED = "119999194912310013", "119999194912310021", "119999194912310152"
WRONG_CHECK_DIGIT, CHARGED_IN_VAIN = "110105194912310021", "119999194912310048"
FAILS_ONCE, ALWAYS_FAILS = "119999194912310363", "119999194912310224"
# Name, ID number, outcome, how many, copies of each that follow at once.
KINDS = [
    ("match", ID_CARD, "match", 9, 1),
    ("in-vain", CHARGED_IN_VAIN, "failed", 4, 1),
    ("recovering", FAILS_ONCE, "match", 4, 1),
    ("mismatch", MISMATCH, "mismatch", 3, 1),
    ("twin", ID_CARD, "match", 3, 2),
    ("rejected", WRONG_CHECK_DIGIT, "rejected", 3, 1),
    ("no-record", NO_RECORD, "no_record", 2, 1),
    ("failing", ALWAYS_FAILS, "failed", 1, 1),
    ("refused", REFUSED, "failed", 1, 1),
]
AGAIN = ["match-0", "mismatch-0", "rejected-0", "recovering-0", "in-vain-0", "refused-0"]
UNREADABLE = b'{"requestId": '
# Few claims at once, so that a crash leaves few calls in doubt. No call is cut off by a deadline,
# however slow the machine is: leases are let lapse by the tests.
DOOMED = {"CONCURRENCY": "2", "RETRY_DELAYS": "1s"}
HEALTHY = {"RETRY_DELAYS": "1s", "PROBE_SECONDS": "0.5"}


@dataclass
class Backlog:
    """Messages in their order, and how each request must end."""

    messages: list[dict[str, Any] | bytes] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def plain(cls, stack: Stack, number: int, copies: int = 1) -> Backlog:
        """Publish so many requests that match."""
        names = [f"plain-{each}" for each in range(number)]
        return cls([*map(request, names * copies)], dict.fromkeys(names, "match"))._published(stack)

    @classmethod
    def mixed(cls, stack: Stack) -> Backlog:
        """Publish 30 requests of all kinds evenly mixed, then repeats and what is no request.

        Even, for five failures in a row would be an outage, and because a crash may take all of
        a batch to the next step: the next crash needs some of its kind that are left.
        """
        backlog = cls()
        placed: list[tuple[float, list[dict[str, Any]]]] = []
        for kind, id_card, outcome, number, copies in KINDS:
            for each in range(number):
                name = f"{kind}-{each}"
                # The sandbox counts failures by person, so everybody has a name of his own.
                message = request(name, id_card, "张" + chr(0x4E00 + len(placed)))
                placed.append(((each + 0.5) / number, [message] * copies))
                backlog.outcomes[name] = outcome
        for _, copies_of_one in sorted(placed, key=lambda place: place[0]):
            backlog.messages += copies_of_one
        by_name = {each["requestId"]: each for each in backlog.messages if isinstance(each, dict)}
        for number, name in enumerate(AGAIN):
            backlog.messages += [by_name[name], UNREADABLE, request(f"match-{number}", NO_RECORD)]
        return backlog._published(stack)

    def grow(self, stack: Stack, number: int) -> None:
        """Publish one request that is tried again and one that is dead-lettered."""
        for kind, id_card, outcome in (
            ("recovering", FAILS_ONCE, "match"),
            ("in-vain", CHARGED_IN_VAIN, "failed"),
        ):
            name = f"{kind}-more-{number}"
            self.outcomes[name] = outcome
            stack.publish(request(name, id_card, "李" + chr(0x4E00 + number)))

    def _published(self, stack: Stack) -> Backlog:
        for message in self.messages:
            # Without an address nobody would be told that a message cannot be read.
            address = {} if isinstance(message, dict) else {"reply_to": "asker"}
            stack.publish(message, **address)
        return self


@dataclass
class StateAfterKill:
    """What a killed worker left."""

    results: dict[str, dict[str, Any]]
    calls: dict[str, int]
    charges: dict[str, Any]
    events: int
    messages: int

    @classmethod
    def of(cls, stack: Stack) -> StateAfterKill:
        """Look when the broker has taken back what the worker held, and take nothing."""
        until(lambda: not stack.consumers())
        query = "SELECT request_id, count(*) AS n FROM verification_v1.calls GROUP BY 1"
        return cls(
            stack.results(),
            {row["request_id"]: row["n"] for row in stack.rows(query)},
            stack.provider.charges(),
            stack.depth("collector"),
            stack.waiting(),
        )

    def assert_done_stays_done(self, accounts: Accounts) -> None:
        """Check that no request that had its outcome then was called or changed again."""
        for name, row in self.results.items():
            now = accounts.results[name]
            assert now == {**row, "event_sent_at": now["event_sent_at"]}
            assert len(accounts.calls.get(name, [])) == self.calls.get(name, 0), name


def crash(stack: Stack, step: str, nth: int = 1, **settings: str) -> StateAfterKill:
    """Run a worker that kills itself at this step; a step that it never reaches fails the test.

    What those before it had claimed is free for it.
    """
    lapse_leases(stack)
    environment = {**stack.environment, **DOOMED, **settings}
    worker = Process.start([step, str(nth)], environment, module="tests.chaos.crashing_worker")
    stack.workers.append(worker)
    assert worker.ended() == -9, worker.lines
    return StateAfterKill.of(stack)


def lapse_leases(stack: Stack) -> None:
    """Let the leases of those who were killed have lapsed."""
    stack.as_owner(
        """UPDATE verification.request SET lease_until = now() - interval '1s'
            WHERE lease_until > now()"""
    )


def recover(stack: Stack, backlog: Backlog, **settings: str) -> Accounts:
    """Let a healthy worker finish, stop it, and count."""
    max_in_doubt_calls = int(settings.get("MAX_IN_DOUBT_CALLS", "1"))
    lapse_leases(stack)
    while True:
        worker = stack.start_worker(**HEALTHY, **settings)
        settle(stack, backlog.outcomes, events=len(backlog.messages))
        assert worker.stop() == 0
        # A repeat that it held stood in no queue; a worker that stops hands back what is no work.
        if not stack.waiting():
            break
    accounts = assert_nothing_lost(stack, backlog.outcomes, max_in_doubt_calls=max_in_doubt_calls)
    for name, row in accounts.results.items():
        if row["in_doubt_calls"] > max_in_doubt_calls:
            assert (row["outcome"], row["error_kind"]) == ("failed", "in_doubt")
        else:
            assert row["outcome"] == backlog.outcomes[name], name
    if UNREADABLE in backlog.messages:
        assert sum(name is None for _, name in accounts.dead) >= backlog.messages.count(UNREADABLE)
    return accounts
