"""A ledger in memory for one flow or two: grants, leases, calls in doubt, and faults on request.

It has no more of the real ledger's rules than the flow's tests need; what a quota, another mode or
an answer that is reused makes of a claim, a test writes down (`instead`, `reuse`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Condition, Event

from tests.fakes.broker import PATIENCE
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
    Result,
    RetryLater,
    StoredResult,
    worse,
)
from worker.core.request import Mode
from worker.ports import Clock, Fault, LedgerRefused, LedgerUnavailable

LEASE = timedelta(seconds=60)


@dataclass(slots=True)
class Row:
    """One request; of each call its class, None while it is under way."""

    asked: ClaimRequest
    requested_at: datetime
    owner: str
    lease_until: datetime
    state: str = "working"
    grants: int = 1
    attempts: int = 0
    in_doubt_calls: int = 0
    charged: Charged = Charged.NO
    calls: list[CallClass | None] = field(default_factory=list)
    stored: StoredResult | None = None
    announced: bool = False

    @property
    def result(self) -> Result | None:
        """The outcome, where it has one."""
        return None if self.stored is None else self.stored.result

    def done(self) -> AlreadyDone:
        assert self.stored is not None
        return AlreadyDone(replace(self.stored, announced=self.announced))


class DeskLedger:
    """The `Ledger` of the ports for one worker; ledgers that share `rows` are one database.

    `faults` are raised by the next calls, before anything is done; `lose_answers` is how many of
    the next calls commit and then lose their answer. Ids in `poison` are refused at the claim,
    provider codes in `poison_codes` at the record.
    """

    def __init__(
        self, clock: Clock, worker: str, max_in_doubt_calls: int, rows: dict[str, Row]
    ) -> None:
        self._clock = clock
        self._worker = worker
        self._max_in_doubt_calls = max_in_doubt_calls
        self.rows = rows
        self.changed = Condition()
        self.asked = Event()
        self.faults: deque[Fault] = deque()
        self.lose_answers = 0
        self.poison: set[str] = set()
        self.poison_codes: set[str] = set()
        self.tokens: list[str] = []
        self.instead: dict[str, Callable[[Claim], Claim]] = {}
        """By id, what a claim becomes before it is given out."""
        self.reuse: dict[str, StoredResult] = {}
        """By id, a paid answer that needs no call."""

    def claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim requests (see `ports.Ledger`)."""
        self.asked.set()
        with self.changed:
            self.tokens.append(token)
            self._meet_fault(refused=bool(self.poison & {asked.request_id for asked in batch}))
            claims = [self._claim(asked, f"{self._worker}/{token}") for asked in batch]
            self._finish()
            for place, asked in enumerate(batch):
                if (instead := self.instead.get(asked.request_id)) is not None:
                    claims[place] = instead(claims[place])
            return claims

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them (see `ports.Ledger`)."""
        with self.changed:
            infos = [entry.report and entry.report.auth_info for entry in batch]
            self._meet_fault(refused=any(i and i.code in self.poison_codes for i in infos))
            for request_id in announced:
                self.rows[request_id].announced = True
            recorded = [self._record(entry) for entry in batch]
            self._finish()
            return recorded

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as something holds; it is looked at after each change."""
        with self.changed:
            assert self.changed.wait_for(holds, PATIENCE), "it did not come to hold"

    def _meet_fault(self, *, refused: bool) -> None:
        self.changed.notify_all()
        if self.faults:
            raise self.faults.popleft()
        if refused:
            raise LedgerRefused("SQLSTATE 22P05")

    def _finish(self) -> None:
        if self.lose_answers:
            self.lose_answers -= 1
            raise LedgerUnavailable("the answer was lost")

    def _claim(self, asked: ClaimRequest, owner: str) -> Claim:
        now = self._clock.now()
        row = self.rows.get(asked.request_id)
        if row is None:
            row = self.rows[asked.request_id] = Row(asked, now, owner, now + LEASE)
        elif not fits(asked.digests, row.asked.digest.key_id, row.asked.digest.fingerprint):
            return Conflicting(ErrorKind.CONFLICT)
        elif row.state == "done":
            return row.done()
        elif row.state == "waiting" or row.lease_until < now:
            doubts = row.calls.count(None)
            row.calls = [each or CallClass.IN_DOUBT for each in row.calls]
            row.in_doubt_calls += doubts
            row.charged = worse(row.charged, Charged.UNKNOWN) if doubts else row.charged
            row.state, row.owner, row.grants = "working", owner, row.grants + 1
            row.lease_until = now + LEASE
        elif row.owner != owner:
            return HeldElsewhere()
        reuse = self.reuse.get(asked.request_id)
        expired = asked.expires_at is not None and asked.expires_at <= now
        wants_call = asked.wants_call and reuse is None and not expired
        may_call = wants_call and row.in_doubt_calls <= self._max_in_doubt_calls
        if may_call and None not in row.calls:
            row.calls.append(None)
        return Granted(
            asked.request_id,
            row.grants,
            len(row.calls) if may_call else None,
            row.attempts,
            len(row.calls),
            row.in_doubt_calls,
            row.charged,
            row.requested_at,
            reuse=reuse,
            read_at=now,
        )

    def _record(self, entry: Entry) -> Recorded | FencedOut:
        row, report, granted = self.rows[entry.granted.request_id], entry.report, entry.granted
        if row.grants != granted.grant:
            if row.state == "done":
                return FencedOut(row.done())
            return FencedOut(HeldElsewhere())
        if row.state != "working":  # a repeat of what was recorded already
            return Recorded(row.stored)
        if report is not None and report.sends == 0:
            row.calls.pop()
        elif report is not None:
            row.calls[-1] = report.call_class
            row.in_doubt_calls += report.call_class is CallClass.IN_DOUBT
        if isinstance(entry.decision, RetryLater):
            row.state, row.charged = "waiting", entry.decision.charged
            row.attempts += entry.decision.counted
            return Recorded(None)
        asked, calls = row.asked, len(row.calls)
        row.state = "done"
        row.stored = StoredResult(
            asked.request_id,
            asked.source,
            asked.check_type,
            Mode.SANDBOX,
            entry.decision.result,
            calls,
            row.requested_at,
            self._clock.now(),
            asked.context,
        )
        return Recorded(row.stored)
