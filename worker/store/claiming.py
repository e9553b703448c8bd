"""The claim of one batch, statement by statement, on one connection."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, Row

from worker.core.claims import Claim, ClaimRequest, Conflicting, Granted, HeldElsewhere
from worker.core.digests import fits
from worker.core.outcome import Charged, ErrorKind
from worker.core.request import Lane, Mode
from worker.ports import LedgerContended
from worker.store import statements
from worker.store.engine import run
from worker.store.quota import Quota
from worker.store.rows import as_json, bytea, claim_batch, not_claimed
from worker.telemetry.logs import LogEvent

# A rolling update gives all workers a new DIGEST_KEY within this time. What was finished longer ago
# under a key that is not known here stands under one that is gone.
ROTATED_WITHIN = timedelta(hours=1)

# The broker's timer brings a message back, and the database's clock says whether it is due: so far
# they may differ.
SLACK = timedelta(seconds=1)
# What a worker of another release or with other settings may add to a lease or a delay.
_BEYOND_OURS = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """Whose claims these are and how long they hold."""

    worker: str
    """Names this process: host, pid and a random part."""
    mode: Mode
    lease_seconds: float
    max_in_doubt_calls: int
    quota: Quota | None = None
    """What limits the calls of all workers in this mode; None where nothing does."""
    longest_delay: float = 1800.0
    """The longest wait for another attempt, in seconds."""
    reuse_seconds: float | None = None
    """How long a paid answer is given again to requests of the same data; None: it is not."""


class Claiming:
    """Claims a batch for one owner. Answers are by request id."""

    def __init__(self, database: Connection, config: LedgerConfig, owner: str) -> None:
        self._database = database
        self._config = config
        self._owner = owner
        self._ours = {"owner": owner, "mode": config.mode.value, "lease": config.lease_seconds}
        self.repeated: set[str] = set()
        """Granted again: their intents to call were committed by the first try of this batch."""

    def claim(self, batch: Sequence[ClaimRequest]) -> dict[str, Claim]:
        """Claim all of a batch.

        The usual case, all ids new, is one statement. Known ids need a second one, and ids that are
        not ours to take need a look at their rows.
        """
        rows = run(self._database, statements.CLAIM, {**self._ours, "batch": claim_batch(batch)})
        claims: dict[str, Claim] = {row.request_id: _granted(row) for row in rows}
        if known := [each for each in batch if each.request_id not in claims]:
            claims |= self._take_over(known)
        if rest := [each for each in batch if each.request_id not in claims]:
            found = read_rows(self._database, rest)
            if old := [each for each in rest if self._is_under_fallback(each, found)]:
                self._rekey(old, found)
                claims |= self.claim(old)
            claims |= self._answer([each for each in rest if each.request_id not in claims], found)
        return claims

    def claim_at_most(
        self, shares: Callable[[int, int], tuple[int, int]], batch: Sequence[ClaimRequest]
    ) -> dict[str, Claim]:
        """Claim a batch in which only some may have a new call; leave out who would need another.

        `shares` says how many of so many in each lane may be called (`QuotaState.shares`).
        Where there are too few, whatever needs no claim is answered first, so that the calls go
        to the new, the waiting and the lapsed; and a copy of a finished request never waits.
        """
        wanting = [each for each in batch if each.wants_call]
        if _may_call(shares, wanting) == wanting:
            return self.claim(batch)
        rows = read_rows(self._database, wanting)
        needing = [each for each in wanting if self._claimable(each, rows.get(each.request_id))]
        waiting = {each.request_id for each in needing}
        claims = self._answer([each for each in wanting if each.request_id not in waiting], rows)
        waiting -= {each.request_id for each in _may_call(shares, needing)}
        left_out = claims.keys() | waiting
        if rest := [each for each in batch if each.request_id not in left_out]:
            claims |= self.claim(rest)
        return claims

    def _answer(self, asked: list[ClaimRequest], rows: Mapping[str, Row[Any]]) -> dict[str, Claim]:
        if any(each.request_id not in rows for each in asked):
            # Retention deleted a finished request between two statements: now it is a new one.
            raise LedgerContended("a row went away")
        if self._cap(rows.values()):
            rows = {**rows, **read_rows(self._database, asked)}
        claims = {each.request_id: self._judge(each, rows[each.request_id]) for each in asked}
        # The first try of this very batch was committed, only its answer was lost.
        if ours := [each for each in asked if rows[each.request_id].lease_owner == self._owner]:
            claims |= self._claim_again(ours, rows)
        return claims

    def _cap(self, rows: Iterable[Row[Any]]) -> bool:
        """Let nobody wait for a clock that was set back; return whether somebody would have."""
        lease = timedelta(seconds=self._config.lease_seconds) + _BEYOND_OURS
        delay = timedelta(seconds=self._config.longest_delay) + _BEYOND_OURS
        ids = [
            row.request_id
            for row in rows
            if (row.state == "working" and row.lease_until > row.read_at + lease)
            or (row.state == "waiting" and row.due_at and row.due_at > row.read_at + delay)
        ]
        if ids:
            limits = {"lease": lease.total_seconds(), "delay": delay.total_seconds()}
            capped = self._database.execute(statements.CAP, {"ids": ids, **limits}).all()
            log = structlog.get_logger()
            log.warning(LogEvent.CLOCK_SET_BACK, of="request", requests=len(capped))
        return bool(ids)

    def _claimable(self, asked: ClaimRequest, row: Row[Any] | None) -> bool:
        """Say of a row what TAKE_OVER says of it; in a transaction both have the same `now()`."""
        if row is None:
            return True
        lapsed = row.state == "working" and row.lease_until < row.read_at
        due = row.due_at is None or row.due_at < row.read_at + SLACK or not asked.wants_call
        waits = row.state == "waiting" and due
        is_free = waits or (lapsed and row.lease_owner != self._owner)
        same = fits(asked.digests, row.digest_key, bytes(row.fingerprint))
        return is_free and bool(same) and row.mode == self._config.mode.value

    def _is_under_fallback(self, asked: ClaimRequest, rows: Mapping[str, Row[Any]]) -> bool:
        """Say of a row that was left alone whether a former key was the only reason."""
        row = rows.get(asked.request_id)
        if row is None or bytes(row.fingerprint) == asked.digest.fingerprint:
            return False
        return self._claimable(asked, row)

    def _rekey(self, asked: Iterable[ClaimRequest], rows: Mapping[str, Row[Any]]) -> None:
        batch: list[dict[str, object]] = [
            {
                "request_id": each.request_id,
                "former": bytea(bytes(rows[each.request_id].fingerprint)),
                "fingerprint": bytea(each.digest.fingerprint),
                "subject_digest": bytea(each.digest.subject),
                "digest_key": each.digest.key_id,
            }
            for each in asked
        ]
        self._database.execute(statements.REKEY, {"batch": as_json(batch)})

    def _judge(self, asked: ClaimRequest, row: Row[Any]) -> Claim:
        same = fits(asked.digests, row.digest_key, bytes(row.fingerprint))
        if same is None and (
            row.state != "done" or row.read_at - row.completed_at < ROTATED_WITHIN
        ):
            # While keys are rotated: a worker that has the key answers it, when it comes again.
            return HeldElsewhere()
        if not same:
            return Conflicting(ErrorKind.CONFLICT)
        if row.mode != self._config.mode.value:
            return Conflicting(ErrorKind.MODE_MISMATCH)
        return not_claimed(row)

    def _take_over(self, known: list[ClaimRequest], *, again: bool = False) -> dict[str, Claim]:
        limits = {"slack": SLACK.total_seconds(), "max_in_doubt": self._config.max_in_doubt_calls}
        values = {**self._ours, **limits, "batch": claim_batch(known), "again": again}
        rows = self._database.execute(statements.TAKE_OVER, values)
        return {row.request_id: _granted(row) for row in rows}

    def _claim_again(
        self, ours: list[ClaimRequest], rows: Mapping[str, Row[Any]]
    ) -> dict[str, Claim]:
        asked = {**self._ours, "ids": [each.request_id for each in ours]}
        renewed = self._database.execute(statements.RENEW, asked).all()
        intended = {row.request_id for row in renewed if row.intended}
        self.repeated |= intended
        claims: dict[str, Claim] = {
            request_id: _granted(rows[request_id], may_call=True) for request_id in intended
        }
        # The first try wanted no call, or might make none.
        uncalled = {row.request_id for row in renewed} - intended
        rest = [each for each in ours if each.request_id in uncalled]
        return claims | (self._take_over(rest, again=True) if rest else {})


def _may_call(
    shares: Callable[[int, int], tuple[int, int]], wanting: Sequence[ClaimRequest]
) -> list[ClaimRequest]:
    """Return who may have a call, of those who want one: the first of each lane."""
    bulk = sum(each.lane is Lane.BULK for each in wanting)
    live, bulk = shares(len(wanting) - bulk, bulk)
    left, may_call = {Lane.LIVE: live, Lane.BULK: bulk}, []
    for each in wanting:
        left[each.lane] -= 1
        if left[each.lane] >= 0:
            may_call.append(each)
    return may_call


def read_rows(database: Connection, of: Iterable[ClaimRequest | Granted]) -> dict[str, Row[Any]]:
    """Return what stands in the rows of these requests, by their ids."""
    ids = {"ids": [each.request_id for each in of]}
    return {row.request_id: row for row in database.execute(statements.READ, ids)}


def _granted(row: Any, *, may_call: bool | None = None) -> Granted:
    """Return the grant in a row; the statement says whether it may call, unless we know."""
    return Granted(
        row.request_id,
        row.grants,
        row.calls if (row.may_call if may_call is None else may_call) else None,
        row.attempts,
        row.calls,
        row.in_doubt_calls,
        Charged(row.charged),
        row.requested_at,
        owner=row.lease_owner,
        read_at=row.read_at,
    )
