"""A ledger with a look inside: many workers on one database, whose clocks a test sets back."""

import json
from typing import Any, NamedTuple

from tests.integration.store.upkeep import Rows, quota_of
from worker.core.request import Mode
from worker.store.claiming import LedgerConfig
from worker.store.ledger import PostgresLedger

_TABLES = ("request", "provider_call")


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

    def ledger(
        self,
        worker: str = "one",
        *,
        mode: Mode = Mode.SANDBOX,
        lease_seconds: float = 60.0,
        max_in_doubt_calls: int = 1,
        reuse_seconds: float | None = None,
        **limits: Any,
    ) -> PostgresLedger:
        """Return the ledger of one worker; the limits are of `Quota`."""
        config = LedgerConfig(
            worker,
            mode,
            lease_seconds,
            max_in_doubt_calls,
            quota_of(**limits),
            reuse_seconds=reuse_seconds,
        )
        return PostgresLedger(self._engine, config, now=lambda: 0.0)

    def set_lease(self, request_id: str, seconds: float) -> None:
        """Let a lease end so many seconds from now; below 0 it has lapsed."""
        self(
            """UPDATE verification.request
                  SET lease_until = now() + make_interval(secs => :s) WHERE request_id = :id""",
            s=seconds,
            id=request_id,
        )

    def held_for(self, request_id: str = "onb-1") -> float:
        """Return in how many seconds an open request may be had."""
        (found,) = self(
            """SELECT extract(epoch FROM coalesce(lease_until, due_at) - now()) AS left
                 FROM verification.request WHERE request_id = :id""",
            id=request_id,
        )
        return float(found["left"])

    lease_left = held_for

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

    def age_calls(self, days: int) -> None:
        """Let all calls have begun so many days earlier."""
        self.age(days * 24 * 60)

    def let_slots_pass(self, seconds: float) -> None:
        """Let the next free slot come so many seconds sooner."""
        self(
            """UPDATE verification.call_quota
                  SET next_call_at = next_call_at - make_interval(secs => :s)""",
            s=seconds,
        )
