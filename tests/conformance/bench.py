"""A ledger with a look inside: many workers on one database, whose clocks a test sets back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from worker.core.request import Mode
from worker.store.claiming import LedgerConfig
from worker.store.ledger import PostgresLedger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine


class RowSeen(NamedTuple):
    """A request as the ledger has it."""

    state: str
    attempts: int
    calls: int
    in_doubt_calls: int
    charged: str
    announced: bool


class CallSeen(NamedTuple):
    """A call as the ledger has it; `call_class` is None while nobody knows its end."""

    number: int
    call_class: str | None
    charged: str


class Bench:
    """One database: workers with ledgers of their own, and what they wrote."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ledger(
        self,
        worker: str = "one",
        *,
        mode: Mode = Mode.SANDBOX,
        lease_seconds: float = 60.0,
        max_in_doubt_calls: int = 1,
        **options: Any,
    ) -> PostgresLedger:
        """Return the ledger of one worker; the options are of `LedgerConfig`."""
        config = LedgerConfig(worker, mode, lease_seconds, max_in_doubt_calls, **options)
        return PostgresLedger(self._engine, config, now=lambda: 0.0)

    def set_lease(self, request_id: str, seconds: float) -> None:
        """Let a lease end so many seconds from now; below 0 it has lapsed."""
        self._sql(
            """UPDATE verification.request
                  SET lease_until = now() + make_interval(secs => :s) WHERE request_id = :id""",
            s=seconds,
            id=request_id,
        )

    def make_due(self, request_id: str, minutes_ago: int = 0) -> None:
        """Let the next attempt of a waiting request be due now, or some minutes ago."""
        self._sql(
            """UPDATE verification.request
                  SET due_at = now() - make_interval(mins => :m) WHERE request_id = :id""",
            m=minutes_ago,
            id=request_id,
        )

    def turn_clock_back(self, request_id: str, seconds: float) -> None:
        """Let lease and due time lie as far ahead as a clock leaves them that is set back."""
        self._sql(
            """UPDATE verification.request
                  SET lease_until = lease_until + make_interval(secs => :s),
                      due_at = due_at + make_interval(secs => :s) WHERE request_id = :id""",
            s=seconds,
            id=request_id,
        )

    def held_for(self, request_id: str) -> float:
        """Return in how many seconds an open request may be had."""
        left = "extract(epoch FROM coalesce(lease_until, due_at) - now())"
        return float(self._of_request(request_id, left)[0])

    def lease_left(self, request_id: str) -> float:
        """Return the seconds that a lease still holds."""
        left = "extract(epoch FROM lease_until - now())"
        return float(self._of_request(request_id, left)[0])

    def age(self, request_id: str, seconds: float) -> None:
        """Let an outcome be so many seconds older."""
        self._sql(
            """UPDATE verification.request SET completed_at = completed_at
                  - make_interval(secs => :s) WHERE request_id = :id""",
            s=seconds,
            id=request_id,
        )

    def key_id(self, request_id: str) -> str | None:
        """Return the id of the key under which a request's digests stand."""
        key_id: str | None = self._of_request(request_id, "digest_key")[0]
        return key_id

    def row(self, request_id: str = "onb-1") -> RowSeen:
        """Return a request."""
        columns = "state, attempts, calls, in_doubt_calls, charged, event_sent_at IS NOT NULL"
        return RowSeen(*self._of_request(request_id, columns))

    def calls(self, request_id: str = "onb-1") -> list[CallSeen]:
        """Return the calls of a request in their order."""
        statement = """SELECT call_number, class, charged FROM verification.provider_call
            WHERE request_id = :id ORDER BY call_number"""
        return [CallSeen(*row) for row in self._sql(statement, id=request_id)]

    def has(self, request_id: str) -> bool:
        """Say whether there is such a request."""
        found = self._sql("SELECT FROM verification.request WHERE request_id = :id", id=request_id)
        return bool(found)

    def lose(self, request_id: str) -> None:
        """Let a request never have been written, as an asynchronous failover leaves it."""
        for table in ("request", "provider_call"):
            self._sql(f"DELETE FROM verification.{table} WHERE request_id = :id", id=request_id)  # noqa: S608

    def keep(self, request_id: str) -> None:
        """Remember how a request stands now."""
        self._kept = {
            table: self._sql(
                f"SELECT to_jsonb(t) FROM verification.{table} AS t WHERE request_id = :id",  # noqa: S608
                id=request_id,
            )
            for table in ("request", "provider_call")
        }

    def set_back(self, request_id: str) -> None:
        """Let a request stand as it was kept, as an asynchronous failover leaves it."""
        self.lose(request_id)
        for table, rows in self._kept.items():
            for (row,) in rows:
                self._sql(
                    f"""INSERT INTO verification.{table} SELECT * FROM
                        jsonb_populate_record(NULL::verification.{table}, CAST(:row AS jsonb))""",  # noqa: S608
                    row=json.dumps(row),
                )

    def calls_today(self, mode: Mode = Mode.SANDBOX) -> int:
        """Return what is spent of a mode's daily budget."""
        statement = "SELECT calls_today FROM verification.call_quota WHERE mode = :mode"
        return sum(count for (count,) in self._sql(statement, mode=mode.value))

    def end_the_day(self) -> None:
        """Let what is spent today have been spent yesterday."""
        self._sql("UPDATE verification.call_quota SET day = day - 1")

    def age_calls(self, days: int) -> None:
        """Let all calls have begun so many days earlier."""
        self._sql(
            """UPDATE verification.provider_call
                  SET started_at = started_at - make_interval(days => :d)""",
            d=days,
        )

    def let_slots_pass(self, seconds: float) -> None:
        """Let the next free slot come so many seconds sooner."""
        self._sql(
            """UPDATE verification.call_quota
                  SET next_call_at = next_call_at - make_interval(secs => :s)""",
            s=seconds,
        )

    def _of_request(self, request_id: str, columns: str) -> Any:
        statement = f"SELECT {columns} FROM verification.request WHERE request_id = :id"  # noqa: S608
        (row,) = self._sql(statement, id=request_id)
        return row

    def _sql(self, statement: str, **values: object) -> Sequence[Any]:
        with self._engine.connect() as database:
            result = database.execute(text(statement), values)
            return result.all() if result.returns_rows else []
