"""Requests in every state that the chores meet, and a look at what became of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Barrier
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine, event, text

from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH, fault
from worker.core.claims import ClaimRequest, Entry, Envelope, Granted
from worker.core.outcome import (
    CallClass,
    Charged,
    Complete,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    Result,
    RetryLater,
)
from worker.store.engine import open_engine
from worker.store.ledger import PostgresLedger

T = TypeVar("T")

ANSWER = Result(Outcome.MATCH, Charged.YES, MATCH.auth_info, MATCH.provider_request_id)
ENVELOPE = Envelope("replies.onboarding", "correlation-7", f"00-{'a' * 32}-{'b' * 16}-01")
DAY = 86_400.0
RACERS = 8
_batches = count(1)
_STANDSTILL = "idle_in_transaction_session_timeout"


class CallSeen(NamedTuple):
    """A call as the ledger has it; `call_class` is None while nobody knows its end."""

    number: int
    call_class: str | None
    charged: str


class Rows:
    """The rows of the test's database, to look at and to turn back their clocks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, statement: str, **values: object) -> list[dict[str, Any]]:
        """Run one statement as the owner of the tables and return its rows."""
        with self._engine.connect() as database:
            result = database.execute(text(statement), values)
            return [dict(each) for each in result.mappings()] if result.returns_rows else []

    def request(self, request_id: str = "onb-1") -> dict[str, Any]:
        """Return a request's row."""
        (found,) = self("SELECT * FROM verification.request WHERE request_id = :id", id=request_id)
        return found

    def calls(self, request_id: str = "onb-1") -> list[CallSeen]:
        """Return the calls of a request in their order."""
        found = self(
            """SELECT call_number AS number, class AS call_class, charged
                 FROM verification.provider_call WHERE request_id = :id ORDER BY 1""",
            id=request_id,
        )
        return [CallSeen(**each) for each in found]

    def lapse(self) -> None:
        """Let every lease have lapsed."""
        self(
            """UPDATE verification.request SET lease_until = now() - interval '1s'
                WHERE state = 'working'"""
        )

    def waiting_for_locks(self) -> int:
        """Return how many sessions wait for a lock."""
        return len(
            self("""SELECT 1 FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'""")
        )

    def age(self, minutes: float, *request_ids: str) -> None:
        """Let all that happened to these requests, or to any, lie so many minutes further back."""
        columns = {
            "request": ("requested_at", "completed_at", "lease_until", "due_at"),
            "provider_call": ("started_at",),
        }
        for table, times in columns.items():
            earlier = ", ".join(f"{each} = {each} - make_interval(secs => :s)" for each in times)
            self(
                f"UPDATE verification.{table} SET {earlier} WHERE :any OR request_id = ANY(:ids)",  # noqa: S608
                s=minutes * 60,
                any=not request_ids,
                ids=list(request_ids),
            )


def finish(ledger: PostgresLedger, *asked: ClaimRequest, result: Result = ANSWER) -> None:
    """Let requests run to their outcome in one batch; a match unless said otherwise."""
    claims = ledger.claim(asked, f"finish-{next(_batches)}")
    entries = [
        Entry(each, claim, MATCH, Complete(result))
        for each, claim in zip(asked, claims, strict=True)
        if isinstance(claim, Granted)
    ]
    assert len(entries) == len(asked)
    ledger.record(entries, [])


def patient_engine(url: str, application_name: str) -> Engine:
    """Open a database whose server waits for a test that stands still, also with locks."""
    engine = open_engine(url, application_name, patience=240)

    @event.listens_for(engine, "after_cursor_execute")
    def stay(_connection: object, cursor: Any, statement: str, *_others: object) -> None:
        if _STANDSTILL in statement:  # which ends a worker's transaction after 3 s
            cursor.connection.pgconn.exec_(f"SET LOCAL {_STANDSTILL} = 0".encode())

    return engine


def race(database_url: str, work: Callable[[Engine, int], T], racers: int = RACERS) -> list[T]:
    """Do the same so many times at once, each with a pool and a number of its own."""
    start = Barrier(racers)

    def one(number: int) -> T:
        own = patient_engine(database_url, f"racer-{number}")
        try:
            start.wait(240)
            return work(own, number)
        finally:
            own.dispose()

    with ThreadPoolExecutor(racers) as threads:
        return list(threads.map(one, range(racers)))


@contextmanager
def locked(engine: Engine, request_id: str) -> Iterator[None]:
    """Hold the lock of one request, as a claim that is under way does."""
    query = "SELECT FROM verification.request WHERE request_id = :id FOR UPDATE"
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as database:
        database.execute(text(query), {"id": request_id})
        yield


def finish_with_everything(ledger: PostgresLedger, request_id: str = "onb-1") -> None:
    """Finish a request whose row has a value in every column that retention clears."""
    base = ask(request_id, context='{"applicant":42}')
    masked = replace(base.masked, name="欧*", id_card="1*X", bankcard="*5702", mobile="138*8000")
    asked = replace(base, masked=replace(masked, portrait="6148 bytes"), envelope=ENVELOPE)
    problems = (FieldProblem("personalSpec", "is odd"),)
    failure = Failure(ErrorKind.PROTOCOL_ERROR, "words of ours", problems)
    result = replace(ANSWER, outcome=Outcome.FAILED, failure=failure)
    finish(ledger, asked, result=result)
    ledger.record([], [request_id])


def leave_waiting(ledger: PostgresLedger, asked: ClaimRequest, *, doubt: bool = False) -> None:
    """Let the call of a request fail; its message goes to a retry queue."""
    report = fault(CallClass.IN_DOUBT, Charged.UNKNOWN) if doubt else fault(CallClass.UNAVAILABLE)
    decision = RetryLater(0, counted=True, reason=report.call_class, charged=report.charged)
    (claim,) = ledger.claim([asked], f"waiting-{asked.request_id}")
    assert isinstance(claim, Granted)
    ledger.record([Entry(asked, claim, report, decision)], [])


def past(minutes: float) -> datetime:
    """Return the time so many minutes ago."""
    return datetime.now(UTC) - timedelta(minutes=minutes)
