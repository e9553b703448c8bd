"""The ledger: who works on a request, every call before it leaves, every outcome once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from worker.core.claims import (
    AlreadyDone,
    Claim,
    ClaimRequest,
    Conflicting,
    Entry,
    FencedOut,
    Granted,
    Recorded,
)
from worker.core.errors import LedgerContended
from worker.core.outcome import Charged, ErrorKind
from worker.store import statements
from worker.store.engine import connection
from worker.store.rows import claim_batch, record_batch, standing, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Row

    from worker.core.request import Mode


T = TypeVar("T")

# Rows are locked in order, so a deadlock is rare already; four in a row would be something else.
_CONTENDED_TRIES = 3


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """Whose claims these are and how long they hold."""

    worker: str
    """Names this process: host, pid and a random part."""
    mode: Mode
    lease_seconds: float
    max_in_doubt_calls: int
    calls_per_minute: int | None = None
    daily_call_budget: int | None = None
    start_margin: float = 4.0


class PostgresLedger:
    """The `Ledger` of the ports, in PostgreSQL."""

    def __init__(self, engine: Engine, config: LedgerConfig) -> None:
        self._engine = engine
        self._config = config

    def claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim requests and commit the intents to call (see `ports.Ledger`)."""
        return _again(lambda: self._claim(batch, token))

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them (see `ports.Ledger`)."""
        return _again(lambda: self._record(batch, announced))

    def _claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim once.

        The usual case, all ids new, is one statement. Ids that are taken over need a second one
        before they may be called, ids that are not ours a look at their rows.
        """
        owner = f"{self._config.worker}/{token}"
        with connection(self._engine) as database:
            rows = database.execute(
                statements.CLAIM,
                {
                    "batch": claim_batch(batch),
                    "mode": self._config.mode.value,
                    "owner": owner,
                    "lease": self._config.lease_seconds,
                },
            ).all()
            asked = {each.request_id: each for each in batch}
            claims: dict[str, Claim] = {
                row.request_id: _granted(row, may_call=asked[row.request_id].wants_call)
                for row in rows
                if row.is_new
            }
            if taken := [asked[row.request_id] for row in rows if not row.is_new]:
                claims |= self._take_over(database, taken, owner)
            if rest := [each for each in batch if each.request_id not in claims]:
                claims |= self._look(database, rest, owner)
        return [claims[each.request_id] for each in batch]

    def _take_over(
        self, database: Connection, taken: list[ClaimRequest], owner: str
    ) -> dict[str, Claim]:
        rows = database.execute(
            statements.TAKE_OVER,
            {
                "taken": [each.request_id for each in taken],
                "wanting": [each.request_id for each in taken if each.wants_call],
                "max_in_doubt": self._config.max_in_doubt_calls,
                "mode": self._config.mode.value,
                "owner": owner,
            },
        ).all()
        return {row.request_id: _granted(row, may_call=row.may_call) for row in rows}

    def _look(self, database: Connection, rest: list[ClaimRequest], owner: str) -> dict[str, Claim]:
        ids = [each.request_id for each in rest]
        rows = {row.request_id: row for row in database.execute(statements.READ, {"ids": ids})}
        claims = {each.request_id: self._judge(each, rows[each.request_id]) for each in rest}
        # The first try of this very batch was committed, only its answer was lost.
        if ours := [each for each in rest if rows[each.request_id].lease_owner == owner]:
            claims |= self._claim_again(database, ours, rows, owner)
        return claims

    def _claim_again(
        self,
        database: Connection,
        ours: list[ClaimRequest],
        rows: Mapping[str, Row[Any]],
        owner: str,
    ) -> dict[str, Claim]:
        ids = {"ids": [each.request_id for each in ours], "owner": owner}
        lease = {"lease": self._config.lease_seconds}
        renewed = {row.request_id for row in database.execute(statements.RENEW, {**ids, **lease})}
        intended = {row.request_id for row in database.execute(statements.INTENDED, ids)}
        claims: dict[str, Claim] = {
            request_id: _granted(rows[request_id], may_call=True)
            for request_id in renewed & intended
        }
        # Without an intent of this batch the take-over is not finished, or no call is wanted.
        half = [each for each in ours if each.request_id in renewed - intended]
        return claims | (self._take_over(database, half, owner) if half else {})

    def _judge(self, asked: ClaimRequest, row: Row[Any]) -> Claim:
        if bytes(row.fingerprint) != asked.fingerprint:
            return Conflicting(ErrorKind.CONFLICT)
        if row.mode != self._config.mode.value:
            return Conflicting(ErrorKind.MODE_MISMATCH)
        return standing(row)

    def _record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        with connection(self._engine) as database:
            rows = database.execute(
                statements.RECORD, {"batch": record_batch(batch), "announced": list(announced)}
            ).all()
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


def _again(work: Callable[[], T]) -> T:
    """Do it, and at once again where another transaction was in the way: it has finished by now."""
    for _ in range(_CONTENDED_TRIES):
        try:
            return work()
        except LedgerContended:
            continue
    return work()


def _key(entry: Entry) -> tuple[str, int]:
    return entry.granted.request_id, entry.granted.grant


def _missed(entry: Entry, row: Row[Any]) -> Recorded | FencedOut:
    """Tell a record that was committed before (its answer was lost) from one that came too late."""
    now = standing(row)
    if row.grants == entry.granted.grant and row.state != "working":
        return Recorded(now.stored if isinstance(now, AlreadyDone) else None)
    return FencedOut(now)


def _granted(row: Row[Any], *, may_call: bool) -> Granted:
    return Granted(
        row.request_id,
        row.grants,
        row.calls if may_call else None,
        row.attempts,
        row.calls,
        row.in_doubt_calls,
        Charged(row.charged),
        row.requested_at,
    )
