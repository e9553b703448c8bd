"""Any history of one request: claims, calls, records, crashes, failovers, in any order.

The real ledger on a real server, the real rules after each call, and the money counted beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import count
from typing import Any

import hypothesis.strategies as st
import psycopg
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.fakes.verifier import MATCH, fault
from tests.integration.store.conftest import ledger_of
from tests.integration.store.upkeep import patient_engine
from tests.isolation.world import ASKED, UNCALLED, World
from worker.core.claims import Entry, Granted
from worker.core.outcome import CallClass, CallReport, Charged, Outcome, worse
from worker.core.retry import RetryPolicy, decide, expire
from worker.store.ledger import PostgresLedger

_TABLES = ("request", "provider_call", "call_quota")
_tokens = count(1)

NO_RECORD = replace(MATCH, verdict=Outcome.NO_RECORD, charged=Charged.NO)
REPORTS = st.sampled_from(
    [
        MATCH,
        NO_RECORD,
        fault(CallClass.SOURCE_FAILED, Charged.YES),
        fault(CallClass.SOURCE_FAILED, Charged.UNKNOWN),
        fault(CallClass.SOURCE_FAILED),
        fault(CallClass.PROTOCOL_ERROR, Charged.UNKNOWN),
        fault(CallClass.REFUSED),
        fault(CallClass.CREDENTIALS),
        fault(CallClass.QUOTA),
        fault(CallClass.THROTTLED),
        fault(CallClass.UNAVAILABLE, Charged.UNKNOWN),
        fault(CallClass.FOREIGN),
        fault(CallClass.FOREIGN, Charged.UNKNOWN),
        fault(CallClass.NOT_SENT),
        fault(CallClass.IN_DOUBT, Charged.UNKNOWN),
        fault(CallClass.IN_DOUBT, Charged.UNKNOWN),
        fault(CallClass.IN_DOUBT, Charged.UNKNOWN),
    ]
)
# Where a call of unknown charge may be repeated, these are charged only by a provider that bills
# its own failures: that many charges are no fault of ours.
_NOT_BILLED = (CallClass.SOURCE_FAILED, CallClass.UNAVAILABLE, CallClass.FOREIGN)


@dataclass(eq=False)
class Held:
    """A claim in the hands of a worker, from its grant until its record or the worker's death."""

    ledger: PostgresLedger
    granted: Granted
    report: CallReport | None = None
    """What its call said, once it is made."""
    charges: int = 0
    lost: bool = False
    """Whether a failover has lost its intent: only its worker knows of it."""


@dataclass(frozen=True)
class Copy:
    """What a standby has at some moment."""

    rows: dict[str, list[tuple[Any, ...]]]
    charges: int
    told: int
    known: int
    """Charges that its ledger knows of."""


class History(RuleBasedStateMachine):
    """One request; hypothesis picks who does what."""

    world: World
    engine: Any

    @initialize(
        max_in_doubt_calls=st.sampled_from([0, 1, 1]),
        budget=st.booleans(),
        has_deadline=st.booleans(),
    )
    def begin(self, max_in_doubt_calls: int, budget: bool, has_deadline: bool) -> None:
        """Start with nothing."""
        self.world = World([self.engine], self.sql, max_in_doubt_calls)
        self.world.empty()
        self.policy = RetryPolicy((60, 600), max_in_doubt_calls)
        self.budget = 1_000 if budget else None
        later = datetime.now(UTC) + timedelta(days=1)
        self.asked = replace(ASKED, expires_at=later if has_deadline else None)
        self.held: list[Held] = []
        self.forgotten = 0
        """Charges that a failover lost with their intents, and no worker holds."""
        self.excused = 0
        """Charges that nobody could avoid, for a failover had lost what stood before them."""
        self.failed_over = False
        self.copy = self._copied()
        self.claim(1)

    sql: psycopg.Connection[Any]

    # Workers

    @rule(copies=st.sampled_from([1, 1, 1, 2]))
    def claim(self, copies: int) -> None:
        """Claim, and perhaps again with the same token, for the first answer was lost."""
        number = next(_tokens)
        allowed = self.world.max_in_doubt_calls
        limits: dict[str, Any] = {"max_in_doubt_calls": allowed, "daily_call_budget": self.budget}
        ledger = ledger_of(self.engine, f"worker-{number}", **limits)
        before = self._ledger()
        waits = self.sql.execute(
            "SELECT request_id FROM verification.request WHERE due_at > now() + interval '30 s'"
        ).fetchone()
        for _ in range(copies):
            (claim,) = ledger.claim([self.asked], str(number))
        self.world.tell(claim)
        if isinstance(claim, Granted):
            if claim.call_number is not None:
                assert not self._deadline_passed, "a call after the deadline"
                assert waits is None, "a call before it was due"
                if allowed == 0:
                    assert all(charged == "no" for charged, _ in before), "a call after a doubt"
            self.held.append(Held(ledger, claim))

    @precondition(lambda self: self._held(called=False))
    @rule(data=st.data(), report=REPORTS, charged=st.booleans())
    def call(self, data: st.DataObject, report: CallReport, charged: bool) -> None:
        """Make a call that was granted, however late."""
        held = data.draw(st.sampled_from(self._held(called=False)))
        held.report = report
        if report.charged is Charged.UNKNOWN:
            billed = not self.policy.max_in_doubt_calls or report.call_class not in _NOT_BILLED
            held.charges = int(charged and billed)
        else:
            held.charges = int(report.charged is Charged.YES)
        self.world.charges += held.charges
        if held.lost:
            self.excused += held.charges

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outage=st.booleans(), copies=st.integers(1, 2))
    def record(self, data: st.DataObject, outage: bool, copies: int) -> None:
        """Record what a call said, or let a claim go that was not called, and perhaps repeat it."""
        self._record(data.draw(st.sampled_from(self.held)), outage=outage, copies=copies)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Let a worker die, whatever it has."""
        held = data.draw(st.sampled_from(self.held))
        self.held.remove(held)
        if held.lost:
            self.forgotten += held.charges

    # Time

    @precondition(lambda self: self._ledger())
    @rule()
    def time_passes(self) -> None:
        """Let leases lapse and waits end."""
        self.sql.execute(
            "UPDATE verification.request SET due_at = due_at - interval '1 hour',"
            " lease_until = lease_until - interval '1 hour'"
        )

    @precondition(lambda self: self.asked.expires_at and not self._deadline_passed)
    @rule()
    def deadline_passes(self) -> None:
        """Let the request's deadline have passed an hour ago."""
        past = datetime.now(UTC) - timedelta(hours=1)
        self.asked = replace(self.asked, expires_at=past)
        self.sql.execute("UPDATE verification.request SET expires_at = %s", (past,))

    # Chores

    @precondition(lambda self: self._ledger())
    @rule(chore=st.sampled_from([World.settle_lapsed, World.relay, World.pause]))
    def do_chore(self, chore: Callable[[World, int], None]) -> None:
        """Settle what nobody works on, announce what was not, or order a pause and lift it."""
        chore(self.world, 0)

    # Failover

    @precondition(lambda self: self._copied() != self.copy)
    @rule()
    def replicate(self) -> None:
        """Let the standby have all that there is now."""
        self.copy = self._copied()

    @precondition(lambda self: self._copied() != self.copy)
    @rule()
    def fail_over(self) -> None:
        """Lose all that the standby does not have."""
        self.failed_over = True
        copy = self.copy
        self.world.empty()
        for table, rows in copy.rows.items():
            for row in rows:
                values = ", ".join(["%s"] * len(row))
                self.sql.execute(f"INSERT INTO verification.{table} VALUES ({values})", row)  # noqa: S608
        intents = {owner for (owner,) in self.sql.execute(
            "SELECT worker FROM verification.provider_call")}  # fmt: skip
        for held in self.held:
            held.lost = held.lost or held.granted.owner not in intents
        self.excused += self.world.charges - copy.charges
        self.forgotten = max(0, self.world.charges - copy.known - self._in_hands)
        del self.world.told[copy.told :]

    # What must hold

    @invariant()
    def money_is_explained(self) -> None:
        """Compare the bill with the ledger and the row."""
        world, allowed = self.world, self.world.max_in_doubt_calls
        charges = world.charges
        assert charges <= 1 + allowed + self.excused, f"{charges} charges"
        entries = self._ledger()
        paid = sum(charged != "no" or finished is None for charged, finished in entries)
        assert charges - self.forgotten - self._in_hands <= paid, f"{charges} charges, {entries}"
        row = self.sql.execute(
            "SELECT calls, in_doubt_calls, outcome, completed_at, charged FROM verification.request"
        ).fetchone()
        told = {(each.result.outcome, each.completed_at) for each in world.told}
        assert len(told) <= 1, f"told {told}"
        if row is None:
            assert not entries
            assert not told
            return
        calls, doubts, outcome, completed_at, charged = row
        if self.failed_over:  # a row that is written again has calls that its ledger has lost
            assert outcome or calls >= len(entries), f"{calls} in the row, {entries}"
        else:
            assert calls == len(entries), f"{calls} in the row, {entries}"
        if not (self.failed_over or outcome):
            ended = [Charged(each) for each, finished in entries if finished is not None]
            assert charged == reduce(worse, ended, Charged.NO), f"{charged} in the row, {entries}"
        assert told <= {(outcome, completed_at)}, f"told {told}, stored {outcome}"
        unmade = sum(held.charges for held in self.held)
        assert doubts >= charges - 1 - self.excused - unmade, f"{doubts} doubts, {entries}"
        if self.budget and not self.failed_over:
            world.check_tokens()

    def teardown(self) -> None:
        """Let who lives record what it has, and workers that nobody disturbs finish."""
        for held in list(self.held):
            self._record(held, outage=False, copies=1)
        self.money_is_explained()
        self.budget = None
        self.time_passes()
        if not self._deadline_passed:
            self.world.finish()
            outcome = self.sql.execute("SELECT outcome FROM verification.request").fetchone()
            assert outcome is not None
            assert outcome[0] is not None, "no outcome"
        self.money_is_explained()

    def _record(self, held: Held, *, outage: bool, copies: int) -> None:
        self.held.remove(held)
        granted, report = held.granted, held.report
        if granted.call_number is None:
            entry = Entry(self.asked, granted, None, expire(granted))
        else:
            report = report or UNCALLED
            decision = decide(report, granted, self.policy, outage=outage)
            entry = Entry(self.asked, granted, report, decision)
        for _ in range(copies):
            self.world.tell(held.ledger.record([entry], [])[0])

    def _held(self, *, called: bool) -> list[Held]:
        return [
            each
            for each in self.held
            if each.granted.call_number is not None and (each.report is not None) is called
        ]

    @property
    def _in_hands(self) -> int:
        return sum(held.charges for held in self.held if held.lost)

    @property
    def _deadline_passed(self) -> bool:
        expires_at = self.asked.expires_at
        return expires_at is not None and expires_at < datetime.now(UTC)

    def _ledger(self) -> list[tuple[Any, ...]]:
        query = "SELECT charged, finished_at FROM verification.provider_call ORDER BY call_number"
        return self.sql.execute(query).fetchall()

    def _copied(self) -> Copy:
        rows = {
            table: self.sql.execute(f"SELECT * FROM verification.{table}").fetchall()  # noqa: S608
            for table in _TABLES
        }
        charges = self.world.charges
        known = charges - self.forgotten - self._in_hands
        return Copy(rows, charges, len(self.world.told), known)


def test_whatever_happens_in_any_order_money_is_explained_and_one_outcome_is_told(
    database_url: str,
) -> None:
    engine = patient_engine(database_url, "history")
    with psycopg.connect(database_url, autocommit=True) as sql:
        machine = type("History", (History,), {"engine": engine, "sql": sql})
        run_state_machine_as_test(
            machine, settings=settings(stateful_step_count=30, report_multiple_bugs=False)
        )
    engine.dispose()
