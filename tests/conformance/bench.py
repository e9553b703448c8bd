"""Two ledgers, one way to make them, to let a lease lapse, and to look inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import text

from tests.fakes.clock import FakeClock
from tests.fakes.ledger import Book, FakeLedger
from worker.core.request import Mode
from worker.store.claiming import LedgerConfig
from worker.store.ledger import PostgresLedger
from worker.store.quota import Quota

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.ports import Ledger


@dataclass(frozen=True, slots=True)
class RowSeen:
    """A request as the ledger has it."""

    state: str
    attempts: int
    calls: int
    in_doubt_calls: int
    charged: str
    announced: bool


@dataclass(frozen=True, slots=True)
class CallSeen:
    """A call as the ledger has it; `call_class` is None while nobody knows its end."""

    number: int
    call_class: str | None
    charged: str


class Bench(Protocol):
    """A ledger on the bench: its workers share one book."""

    def ledger(
        self,
        worker: str = "one",
        *,
        mode: Mode = Mode.SANDBOX,
        lease_seconds: float = 60.0,
        max_in_doubt_calls: int = 1,
        calls_per_minute: int | None = None,
        daily_call_budget: int | None = None,
        reuse_seconds: float | None = None,
    ) -> Ledger:
        """Return the ledger of one worker."""
        ...

    def set_lease(self, request_id: str, seconds: float) -> None:
        """Let a lease end so many seconds from now; below 0 it has lapsed."""
        ...

    def lease_left(self, request_id: str) -> float:
        """Return the seconds that a lease still holds."""
        ...

    def age(self, request_id: str, seconds: float) -> None:
        """Let an outcome be so many seconds older."""
        ...

    def key_id(self, request_id: str) -> str | None:
        """Return the id of the key under which a request's digests stand."""
        ...

    def row(self, request_id: str) -> RowSeen:
        """Return a request."""
        ...

    def calls(self, request_id: str) -> list[CallSeen]:
        """Return the calls of a request in their order."""
        ...

    def has(self, request_id: str) -> bool:
        """Say whether there is such a request."""
        ...

    def calls_today(self, mode: Mode = Mode.SANDBOX) -> int:
        """Return what is spent of a mode's daily budget."""
        ...

    def end_the_day(self) -> None:
        """Let what is spent today have been spent yesterday."""
        ...

    def let_slots_pass(self, seconds: float) -> None:
        """Let the next free slot come so many seconds sooner."""
        ...


class FakeBench:
    """The ledger in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.book = Book(self.clock)

    def ledger(
        self,
        worker: str = "one",
        *,
        mode: Mode = Mode.SANDBOX,
        lease_seconds: float = 60.0,
        max_in_doubt_calls: int = 1,
        calls_per_minute: int | None = None,
        daily_call_budget: int | None = None,
        reuse_seconds: float | None = None,
    ) -> FakeLedger:
        """Return the ledger of one worker."""
        limits = (calls_per_minute, daily_call_budget)
        return FakeLedger(
            self.book,
            worker=worker,
            mode=mode,
            lease_seconds=lease_seconds,
            max_in_doubt_calls=max_in_doubt_calls,
            quota=None if limits == (None, None) else Quota(*limits, start_margin=4.0),
            reuse_seconds=reuse_seconds,
        )

    def set_lease(self, request_id: str, seconds: float) -> None:
        """Let a lease end so many seconds from now."""
        self.book.rows[request_id].lease_until = self.clock.now() + timedelta(seconds=seconds)

    def lease_left(self, request_id: str) -> float:
        """Return the seconds that a lease still holds."""
        until = self.book.rows[request_id].lease_until
        assert until is not None
        return (until - self.clock.now()).total_seconds()

    def age(self, request_id: str, seconds: float) -> None:
        """Let an outcome be so many seconds older."""
        row = self.book.rows[request_id]
        assert row.completed_at is not None
        row.completed_at -= timedelta(seconds=seconds)

    def key_id(self, request_id: str) -> str | None:
        """Return the id of the key under which a request's digests stand."""
        return self.book.rows[request_id].asked.digest.key_id

    def row(self, request_id: str) -> RowSeen:
        """Return a request."""
        row = self.book.rows[request_id]
        return RowSeen(
            row.state,
            row.attempts,
            len(row.calls),
            row.in_doubt_calls,
            row.charged,
            row.announced,
        )

    def calls(self, request_id: str) -> list[CallSeen]:
        """Return the calls of a request in their order."""
        return [
            CallSeen(call.number, call.call_class, call.charged)
            for call in self.book.rows[request_id].calls
        ]

    def has(self, request_id: str) -> bool:
        """Say whether there is such a request."""
        return request_id in self.book.rows

    def calls_today(self, mode: Mode = Mode.SANDBOX) -> int:
        """Return what is spent of a mode's daily budget."""
        return self.book.meters[mode].calls_today if mode in self.book.meters else 0

    def end_the_day(self) -> None:
        """Let what is spent today have been spent yesterday."""
        for mode, meter in self.book.meters.items():
            self.book.meters[mode] = replace(meter, day=meter.day - timedelta(days=1))

    def let_slots_pass(self, seconds: float) -> None:
        """Let the next free slot come so many seconds sooner."""
        for mode, meter in self.book.meters.items():
            sooner = meter.next_call_at - timedelta(seconds=seconds)
            self.book.meters[mode] = replace(meter, next_call_at=sooner)


class PostgresBench:
    """The ledger in PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def ledger(
        self,
        worker: str = "one",
        *,
        mode: Mode = Mode.SANDBOX,
        lease_seconds: float = 60.0,
        max_in_doubt_calls: int = 1,
        calls_per_minute: int | None = None,
        daily_call_budget: int | None = None,
        reuse_seconds: float | None = None,
    ) -> PostgresLedger:
        """Return the ledger of one worker."""
        return PostgresLedger(
            self.engine,
            LedgerConfig(
                worker,
                mode,
                lease_seconds,
                max_in_doubt_calls,
                calls_per_minute,
                daily_call_budget,
                start_margin=4.0,
                reuse_seconds=reuse_seconds,
            ),
        )

    def set_lease(self, request_id: str, seconds: float) -> None:
        """Let a lease end so many seconds from now."""
        statement = """UPDATE verification.request
            SET lease_until = now() + make_interval(secs => :seconds) WHERE request_id = :id"""
        with self.engine.connect() as database:
            database.execute(text(statement), {"seconds": seconds, "id": request_id})

    def lease_left(self, request_id: str) -> float:
        """Return the seconds that a lease still holds."""
        statement = """SELECT extract(epoch FROM lease_until - now())
            FROM verification.request WHERE request_id = :id"""
        with self.engine.connect() as database:
            return float(database.execute(text(statement), {"id": request_id}).scalar_one())

    def age(self, request_id: str, seconds: float) -> None:
        """Let an outcome be so many seconds older."""
        statement = """UPDATE verification.request
            SET completed_at = completed_at - make_interval(secs => :seconds)
            WHERE request_id = :id"""
        with self.engine.connect() as database:
            database.execute(text(statement), {"seconds": seconds, "id": request_id})

    def key_id(self, request_id: str) -> str | None:
        """Return the id of the key under which a request's digests stand."""
        statement = "SELECT digest_key FROM verification.request WHERE request_id = :id"
        with self.engine.connect() as database:
            key_id: str | None = database.execute(text(statement), {"id": request_id}).scalar_one()
        return key_id

    def row(self, request_id: str) -> RowSeen:
        """Return a request."""
        statement = """SELECT state, attempts, calls, in_doubt_calls, charged,
            event_sent_at IS NOT NULL FROM verification.request WHERE request_id = :id"""
        with self.engine.connect() as database:
            return RowSeen(*database.execute(text(statement), {"id": request_id}).one())

    def calls(self, request_id: str) -> list[CallSeen]:
        """Return the calls of a request in their order."""
        statement = """SELECT call_number, class, charged FROM verification.provider_call
            WHERE request_id = :id ORDER BY call_number"""
        with self.engine.connect() as database:
            return [CallSeen(*row) for row in database.execute(text(statement), {"id": request_id})]

    def has(self, request_id: str) -> bool:
        """Say whether there is such a request."""
        statement = "SELECT count(*) FROM verification.request WHERE request_id = :id"
        with self.engine.connect() as database:
            return bool(database.execute(text(statement), {"id": request_id}).scalar_one())

    def calls_today(self, mode: Mode = Mode.SANDBOX) -> int:
        """Return what is spent of a mode's daily budget."""
        statement = "SELECT calls_today FROM verification.call_quota WHERE mode = :mode"
        with self.engine.connect() as database:
            return database.execute(text(statement), {"mode": mode.value}).scalar() or 0

    def end_the_day(self) -> None:
        """Let what is spent today have been spent yesterday."""
        with self.engine.connect() as database:
            database.execute(text("UPDATE verification.call_quota SET day = day - 1"))

    def let_slots_pass(self, seconds: float) -> None:
        """Let the next free slot come so many seconds sooner."""
        statement = """UPDATE verification.call_quota
            SET next_call_at = next_call_at - make_interval(secs => :seconds)"""
        with self.engine.connect() as database:
            database.execute(text(statement), {"seconds": seconds})
