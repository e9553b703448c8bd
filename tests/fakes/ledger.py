"""A ledger in memory with the promises of the real one; `tests/conformance` holds both to them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from threading import Condition
from typing import TYPE_CHECKING

from worker.core.claims import (
    AlreadyDone,
    Claim,
    ClaimRequest,
    Conflicting,
    Entry,
    FencedOut,
    Granted,
    HeldElsewhere,
    Recorded,
)
from worker.core.digests import fits
from worker.core.outcome import (
    CallClass,
    Charged,
    ErrorKind,
    Outcome,
    Result,
    RetryLater,
    StoredResult,
    worse,
)
from worker.core.request import Mode
from worker.ports import Fault, LedgerRefused, LedgerUnavailable
from worker.store.claiming import ROTATED_WITHIN
from worker.store.quota import Quota, QuotaState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from worker.ports import Clock

PATIENCE = 10.0


@dataclass(slots=True)
class Call:
    """One call as the ledger has it."""

    number: int
    call_class: CallClass | None = None
    charged: Charged = Charged.UNKNOWN
    finished: bool = False


@dataclass(slots=True)
class Row:
    """One request as the ledger has it."""

    asked: ClaimRequest
    mode: Mode
    requested_at: datetime
    state: str = "working"
    owner: str | None = None
    lease_until: datetime | None = None
    grants: int = 0
    attempts: int = 0
    in_doubt_calls: int = 0
    charged: Charged = Charged.NO
    calls: list[Call] = field(default_factory=list)
    result: Result | None = None
    completed_at: datetime | None = None
    announced: bool = False

    def is_of(self, asked: ClaimRequest) -> bool | None:
        """Return whether this is asked for; None where no key tells."""
        own = self.asked.digest
        return fits(asked.digests, own.key_id, own.fingerprint)

    def stored(self) -> StoredResult:
        """Return the row as its event tells it."""
        assert self.result is not None
        assert self.completed_at is not None
        return StoredResult(
            self.asked.request_id,
            self.asked.source,
            self.asked.check_type,
            self.mode,
            self.result,
            len(self.calls),
            self.requested_at,
            self.completed_at,
            self.asked.context,
            self.announced,
        )


@dataclass(slots=True)
class Book:
    """What several ledgers share, as several workers share a database."""

    clock: Clock
    rows: dict[str, Row] = field(default_factory=dict)
    meters: dict[Mode, QuotaState] = field(default_factory=dict)
    changed: Condition = field(default_factory=Condition)


class FakeLedger:
    """The `Ledger` of the ports for one worker.

    `faults` are raised by the next calls, before anything is done; `lose_answers` is how many of
    the next calls commit and then lose their answer. Ids in `poison` are refused at the claim,
    provider codes in `poison_codes` at the record.
    """

    def __init__(
        self,
        book: Book,
        *,
        worker: str = "one",
        mode: Mode = Mode.SANDBOX,
        lease_seconds: float = 60.0,
        max_in_doubt_calls: int = 1,
        quota: Quota | None = None,
        reuse_seconds: float | None = None,
    ) -> None:
        self._book = book
        self._reuse_seconds = reuse_seconds
        self._quota = quota
        self._worker = worker
        self._mode = mode
        self._lease = timedelta(seconds=lease_seconds)
        self._max_in_doubt_calls = max_in_doubt_calls
        self.faults: deque[Fault] = deque()
        self.lose_answers = 0
        self.poison: set[str] = set()
        self.poison_codes: set[str] = set()
        self.tokens: list[str] = []

    def claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim requests (see `ports.Ledger`)."""
        with self._book.changed:
            self.tokens.append(token)
            self._meet_fault()
            if self.poison & {asked.request_id for asked in batch}:
                raise LedgerRefused("SQLSTATE 22P05")
            owner = f"{self._worker}/{token}"
            paid = self._paid(batch)
            batch = [
                replace(each, wants_call=each.wants_call and each.request_id not in paid)
                for each in batch
            ]
            if self._quota is None:
                claims = [self._claim(asked, owner) for asked in batch]
            else:
                claims = self._claim_within(self._quota, batch, owner)
            self._finish()
            return [
                replace(claim, reuse=paid.get(claim.request_id))
                if isinstance(claim, Granted) and claim.call_number is None
                else claim
                for claim in claims
            ]

    def _paid(self, batch: Sequence[ClaimRequest]) -> dict[str, StoredResult]:
        """Return the answers that need no call, by the id that asks."""
        if self._reuse_seconds is None:
            return {}
        since = self._book.clock.now() - timedelta(seconds=self._reuse_seconds)
        answers = [
            row
            for row in self._book.rows.values()
            if row.result is not None
            and row.result.outcome in (Outcome.MATCH, Outcome.MISMATCH)
            and row.result.reused_from is None
            and row.mode is self._mode
            and row.completed_at is not None
            and row.completed_at > since
        ]
        return {
            asked.request_id: row.stored()
            for asked in batch
            if asked.wants_call and asked.digest.subject is not None
            for row in answers
            if row.is_of(asked) and row.asked.request_id != asked.request_id
        }

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them (see `ports.Ledger`)."""
        with self._book.changed:
            self._meet_fault()
            if any(_code(entry) in self.poison_codes for entry in batch):
                raise LedgerRefused("SQLSTATE 22P05")
            for request_id in announced:
                row = self._book.rows.get(request_id)
                if row is not None and row.state == "done":
                    row.announced = True
            recorded = [self._record(entry) for entry in batch]
            self._finish()
            return recorded

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as something holds of the book; it is looked at after each change."""
        with self._book.changed:
            if not self._book.changed.wait_for(holds, PATIENCE):
                raise AssertionError("it did not come to hold")

    def _meet_fault(self) -> None:
        if self.faults:
            fault = self.faults.popleft()
            self._book.changed.notify_all()
            raise fault

    def _finish(self) -> None:
        self._book.changed.notify_all()
        if self.lose_answers:
            self.lose_answers -= 1
            raise LedgerUnavailable("the answer was lost")

    def _claim_within(self, quota: Quota, batch: Sequence[ClaimRequest], owner: str) -> list[Claim]:
        now = self._book.clock.now()
        meter = self._book.meters.get(self._mode) or QuotaState(quota, now, now, date.min, 0)
        meter = QuotaState.read(quota, now, meter.next_call_at, meter.day, meter.calls_today)
        new_calls = calls = 0
        claims: list[Claim | None] = []
        waits = meter.waits(len(batch))
        for asked in batch:
            row = self._book.rows.get(asked.request_id)
            before = 0 if row is None else len(row.calls)
            if asked.wants_call and new_calls == meter.free and self._claimable(asked):
                claims.append(None)
                continue
            claim = self._claim(asked, owner)
            new_calls += len(self._book.rows[asked.request_id].calls) - before
            if isinstance(claim, Granted) and claim.call_number is not None:
                claim = replace(claim, wait=waits[calls])
                calls += 1
            claims.append(claim)
        meter = meter.spend(calls, repeated=calls - new_calls)
        self._book.meters[self._mode] = meter
        return [claim or meter.postponed() for claim in claims]

    def _claimable(self, asked: ClaimRequest) -> bool:
        row = self._book.rows.get(asked.request_id)
        if row is None:
            return True
        if not row.is_of(asked) or row.mode is not self._mode:
            return False
        lapsed = row.lease_until is not None and row.lease_until < self._book.clock.now()
        return row.state == "waiting" or (row.state == "working" and lapsed)

    def _claim(self, asked: ClaimRequest, owner: str) -> Claim:
        now = self._book.clock.now()
        row = self._book.rows.get(asked.request_id)
        if row is None:
            row = self._book.rows[asked.request_id] = Row(asked, self._mode, now)
            return self._grant(row, owner, wants_call=asked.wants_call)
        same = row.is_of(asked)
        recent = row.completed_at is None or now - row.completed_at < ROTATED_WITHIN
        if same is None and recent:
            return HeldElsewhere(now)
        if not same:
            return Conflicting(ErrorKind.CONFLICT)
        if row.mode is not self._mode:
            return Conflicting(ErrorKind.MODE_MISMATCH)
        if row.state == "working" and row.lease_until is not None and row.lease_until >= now:
            if row.owner != owner:
                return HeldElsewhere(row.lease_until)
            row.lease_until = now + self._lease
            return self._intend(row, wants_call=asked.wants_call)
        if row.state == "done":
            return AlreadyDone(row.stored())
        row.asked = replace(row.asked, digests=asked.digests)
        for call in row.calls:
            if not call.finished:
                call.call_class, call.finished = CallClass.IN_DOUBT, True
                row.in_doubt_calls += 1
                row.charged = worse(row.charged, Charged.UNKNOWN)
        return self._grant(row, owner, wants_call=asked.wants_call)

    def _grant(self, row: Row, owner: str, *, wants_call: bool) -> Granted:
        row.state, row.owner = "working", owner
        row.lease_until = self._book.clock.now() + self._lease
        row.grants += 1
        return self._intend(row, wants_call=wants_call)

    def _intend(self, row: Row, *, wants_call: bool) -> Granted:
        """Grant a call where one may be made; its intent is written once."""
        may_call = wants_call and row.in_doubt_calls <= self._max_in_doubt_calls
        if may_call and all(call.finished for call in row.calls):
            row.calls.append(Call(len(row.calls) + 1))
        return _granted(row, may_call=may_call)

    def _record(self, entry: Entry) -> Recorded | FencedOut:
        row = self._book.rows[entry.granted.request_id]
        ours = row.grants == entry.granted.grant and row.state == "working"
        if entry.report is not None and entry.report.sends == 0 and ours:
            row.calls.pop()
        elif entry.report is not None and entry.granted.call_number is not None:
            if entry.granted.call_number > len(row.calls):
                return Recorded(None if row.result is None else row.stored())
            call = row.calls[entry.granted.call_number - 1]
            call.call_class, call.charged = entry.report.call_class, entry.report.charged
            call.finished = True
        if row.grants != entry.granted.grant:
            if row.state == "done":
                return FencedOut(AlreadyDone(row.stored()))
            return FencedOut(HeldElsewhere(row.lease_until or self._book.clock.now()))
        if row.state == "working":  # else this is a repeat of what was recorded already
            _write(row, entry, self._book.clock.now())
        return Recorded(None if row.result is None else row.stored())


def _write(row: Row, entry: Entry, now: datetime) -> None:
    row.owner = row.lease_until = None
    row.in_doubt_calls += entry.report is not None and (
        entry.report.call_class is CallClass.IN_DOUBT
    )
    if isinstance(entry.decision, RetryLater):
        row.state, row.charged = "waiting", entry.decision.charged
        row.attempts += entry.decision.counted
    else:
        row.state, row.result, row.completed_at = "done", entry.decision.result, now
        row.charged = row.result.charged


def _granted(row: Row, *, may_call: bool) -> Granted:
    return Granted(
        row.asked.request_id,
        row.grants,
        len(row.calls) if may_call else None,
        row.attempts,
        len(row.calls),
        row.in_doubt_calls,
        row.charged,
        row.requested_at,
    )


def _code(entry: Entry) -> str | None:
    info = entry.report.auth_info if entry.report else None
    return info.code if info else None
