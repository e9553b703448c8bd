"""The ledger: who works on a request, every call before it leaves, every outcome once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from worker.core.claims import (
    AlreadyDone,
    Claim,
    ClaimRequest,
    Entry,
    FencedOut,
    Granted,
    Recorded,
)
from worker.core.errors import LedgerContended
from worker.store import statements
from worker.store.claiming import Claiming
from worker.store.engine import connection, run
from worker.store.quota import lock, save
from worker.store.reuse import reusable
from worker.store.rows import record_batch, standing, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Row

    from worker.core.outcome import StoredResult
    from worker.store.claiming import LedgerConfig
    from worker.store.quota import Quota


T = TypeVar("T")

# Rows are locked in order, so a deadlock is rare already; four in a row would be something else.
_CONTENDED_TRIES = 3


class PostgresLedger:
    """The `Ledger` of the ports, in PostgreSQL."""

    def __init__(self, engine: Engine, config: LedgerConfig) -> None:
        self._engine = engine
        # The same pool; each checkout begins a transaction, for claims of several statements.
        self._transactions = engine.execution_options(isolation_level="READ COMMITTED")
        self._config = config

    def claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim requests and commit the intents to call (see `ports.Ledger`)."""
        owner = f"{self._config.worker}/{token}"
        quota = self._config.quota
        if quota is None:
            return _again(lambda: self._claim(batch, owner))
        return _again(lambda: self._claim_within(quota, batch, owner))

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them (see `ports.Ledger`)."""
        return _again(lambda: self._record(batch, announced))

    def _claim(self, batch: Sequence[ClaimRequest], owner: str) -> list[Claim]:
        with connection(self._engine) as database:
            paid = self._paid(database, batch)
            claims = Claiming(database, self._config, owner).claim(_without_calls(batch, paid))
        return [_with_answer(claims[each.request_id], paid) for each in batch]

    def _claim_within(self, quota: Quota, batch: Sequence[ClaimRequest], owner: str) -> list[Claim]:
        """Claim what the quota has calls for, in one transaction with the tokens that it costs.

        What needs no call, or no other one, is answered whatever is left of the quota.
        """
        mode = self._config.mode
        with connection(self._transactions) as database, database.begin():
            meter = lock(database, quota, mode)
            paid = self._paid(database, batch)
            claiming = Claiming(database, self._config, owner)
            claims = claiming.claim_at_most(meter.free, _without_calls(batch, paid))
            calls = _calls(batch, claims)
            for granted, wait in zip(calls, meter.waits(len(calls)), strict=True):
                claims[granted.request_id] = replace(granted, wait=wait)
            if calls:
                meter = meter.spend(len(calls), repeated=len(claiming.repeated))
                save(database, meter, mode)
        return [
            _with_answer(claims.get(each.request_id) or meter.postponed(), paid) for each in batch
        ]

    def _paid(self, database: Connection, batch: Sequence[ClaimRequest]) -> dict[str, StoredResult]:
        """Return the answers that this batch's requests need no call for."""
        within = self._config.reuse_seconds
        return {} if within is None else reusable(database, batch, self._config.mode, within)

    def _record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        with connection(self._engine) as database:
            marks = {"batch": record_batch(batch), "announced": list(announced)}
            rows = run(database, statements.RECORD, marks)
            saved = {(row.request_id, row.grants): row for row in rows}
            missed = [each for each in batch if _key(each) not in saved]
            now = self._read(database, missed) if missed else {}
        return [
            Recorded(stored(each, saved[_key(each)]))
            if _key(each) in saved
            else _missed(each, now[each.granted.request_id])
            for each in batch
        ]

    @staticmethod
    def _read(database: Connection, entries: list[Entry]) -> dict[str, Row[Any]]:
        ids = [entry.granted.request_id for entry in entries]
        return {row.request_id: row for row in database.execute(statements.READ, {"ids": ids})}


def _without_calls(
    batch: Sequence[ClaimRequest], paid: Mapping[str, StoredResult]
) -> list[ClaimRequest]:
    return [replace(each, wants_call=False) if each.request_id in paid else each for each in batch]


def _with_answer(claim: Claim, paid: Mapping[str, StoredResult]) -> Claim:
    if isinstance(claim, Granted) and claim.call_number is None:
        return replace(claim, reuse=paid.get(claim.request_id))
    return claim


def _again(work: Callable[[], T]) -> T:
    """Do it, and at once again where another transaction was in the way: it has finished by now."""
    for _ in range(_CONTENDED_TRIES):
        try:
            return work()
        except LedgerContended:
            continue
    return work()


def _calls(batch: Sequence[ClaimRequest], claims: Mapping[str, Claim]) -> list[Granted]:
    """Return the grants with a call, in the batch's order: the first comes first."""
    answers = [claims.get(each.request_id) for each in batch]
    return [each for each in answers if isinstance(each, Granted) and each.call_number is not None]


def _key(entry: Entry) -> tuple[str, int]:
    return entry.granted.request_id, entry.granted.grant


def _missed(entry: Entry, row: Row[Any]) -> Recorded | FencedOut:
    """Tell a record that was committed before (its answer was lost) from one that came too late."""
    now = standing(row)
    if row.grants == entry.granted.grant and row.state != "working":
        return Recorded(now.stored if isinstance(now, AlreadyDone) else None)
    return FencedOut(now)
