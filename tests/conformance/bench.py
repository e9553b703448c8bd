"""A ledger with a look inside: many workers on one database, whose clocks a test sets back."""

import json
from itertools import count
from typing import Any, NamedTuple

from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH, fault
from tests.integration.store.conftest import ledger_of
from tests.integration.store.upkeep import ANSWER, Rows
from worker.core.claims import AlreadyDone, Claim, ClaimRequest, Entry, FencedOut, Granted, Recorded
from worker.core.outcome import (
    CallClass,
    CallReport,
    Charged,
    Complete,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    Result,
    RetryLater,
    StoredResult,
)
from worker.core.request import Mode
from worker.ports import Ledger
from worker.store.ledger import PostgresLedger

GIVEN_UP = Result(
    Outcome.FAILED,
    Charged.UNKNOWN,
    failure=Failure(ErrorKind.IN_DOUBT, "in doubt", (FieldProblem("body", "is a test"),)),
)
UNTRIED = CallReport(CallClass.NOT_SENT, Charged.NO, sends=0)

_TABLES = ("request", "provider_call")
_tokens = count(1)


class RowSeen(NamedTuple):
    """A request as the ledger has it."""

    state: str
    attempts: int
    calls: int
    in_doubt_calls: int
    charged: str
    announced: bool


class Bench(Rows):
    """One database: workers with ledgers of their own, and what they wrote."""

    def ledger(self, worker: str = "one", **options: Any) -> PostgresLedger:
        """Return the ledger of one worker; the options are of `LedgerConfig`."""
        return ledger_of(self._engine, worker, now=lambda: 0.0, **options)

    def held_for(self, request_id: str = "onb-1") -> float:
        """Return in how many seconds an open request may be had."""
        (found,) = self(
            """SELECT extract(epoch FROM coalesce(lease_until, due_at) - now()) AS left
                 FROM verification.request WHERE request_id = :id""",
            id=request_id,
        )
        return float(found["left"])

    def row(self, request_id: str = "onb-1") -> RowSeen:
        """Return what a claim or a record may have changed in a request."""
        found = self.request(request_id)
        found["announced"] = found["event_sent_at"] is not None
        return RowSeen(*(found[each] for each in RowSeen._fields))

    def has(self, request_id: str) -> bool:
        """Say whether there is such a request."""
        return bool(self("SELECT 1 FROM verification.request WHERE request_id = :i", i=request_id))

    def lose(self, request_id: str) -> None:
        """Let a request never have been written, as an asynchronous failover leaves it."""
        for table in _TABLES:
            self(f"DELETE FROM verification.{table} WHERE request_id = :id", id=request_id)  # noqa: S608

    def keep(self, request_id: str) -> None:
        """Remember how a request stands now."""
        rows = "SELECT to_jsonb(t) AS row FROM verification.{} AS t WHERE request_id = :id"
        self._kept = {table: self(rows.format(table), id=request_id) for table in _TABLES}

    def set_back(self, request_id: str) -> None:
        """Let a request stand as it was kept, as an asynchronous failover leaves it."""
        self.lose(request_id)
        for table, rows in self._kept.items():
            for each in rows:
                self(
                    f"""INSERT INTO verification.{table} SELECT * FROM
                        jsonb_populate_record(NULL::verification.{table}, CAST(:row AS jsonb))""",  # noqa: S608
                    row=json.dumps(each["row"]),
                )

    def calls_today(self, mode: Mode = Mode.SANDBOX) -> int:
        """Return what is spent of a mode's daily budget."""
        statement = "SELECT calls_today FROM verification.call_quota WHERE mode = :mode"
        return sum(each["calls_today"] for each in self(statement, mode=mode.value))

    def end_the_day(self) -> None:
        """Let what is spent today have been spent yesterday."""
        self("UPDATE verification.call_quota SET day = day - 1")

    def let_slots_pass(self, seconds: float) -> None:
        """Let the next free slot come so many seconds sooner."""
        self(
            """UPDATE verification.call_quota
                  SET next_call_at = next_call_at - make_interval(secs => :s)""",
            s=seconds,
        )


def claimed(ledger: Ledger, asked: ClaimRequest | None = None, batch: str | None = None) -> Claim:
    """Claim one request; `batch` is the claim's token, a new one if none is given."""
    (claim,) = ledger.claim([asked or ask()], batch or f"batch-{next(_tokens)}")
    return claim


def granted(ledger: Ledger, asked: ClaimRequest | None = None, batch: str | None = None) -> Granted:
    """Claim one request that can be had."""
    claim = claimed(ledger, asked, batch)
    assert isinstance(claim, Granted)
    return claim


def told(found: object) -> StoredResult:
    """Return what a record or the claim of a copy says of a request that has its outcome."""
    assert isinstance(found, Recorded | AlreadyDone)
    assert found.stored is not None
    return found.stored


def complete(
    ledger: Ledger,
    claim: Granted,
    result: Result = ANSWER,
    report: CallReport | None = MATCH,
    asked: ClaimRequest | None = None,
) -> Recorded | FencedOut:
    """Record how a claimed request ended."""
    entry = Entry(asked or ask(claim.request_id), claim, report, Complete(result))
    (recorded,) = ledger.record([entry], [])
    return recorded


def put_off(
    ledger: Ledger,
    claim: Granted,
    call_class: CallClass = CallClass.UNAVAILABLE,
    *,
    counted: bool = False,
    charged: Charged = Charged.NO,
    delay: int = 0,
) -> Recorded | FencedOut:
    """Record that a claimed request is to be tried again; it is due in `delay` seconds."""
    return leave(ledger, claim, fault(call_class, charged), counted=counted, delay=delay)


def leave(
    ledger: Ledger,
    claim: Granted,
    report: CallReport = UNTRIED,
    *,
    counted: bool = False,
    delay: int = 0,
) -> Recorded | FencedOut:
    """Record that a call comes to nothing for now: as a rule one that no try was made of."""
    decision = RetryLater(delay, counted, report.call_class, report.charged)
    (recorded,) = ledger.record([Entry(ask(claim.request_id), claim, report, decision)], [])
    return recorded
