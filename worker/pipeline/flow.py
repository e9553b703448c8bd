"""THE FILE: what happens to a message, top to bottom. No threads, no waiting, no sleep.

    deliveries ──admit──> tasks ──call──> finished ──record──> settlements
         │                                   ▲                     ▲
         ├─ settled without paying ──────────┘                     │
         └─ nothing to record (unreadable, replay, held, conflict) ┘

`admit` runs on the claimer thread, `call` on the pool's threads, `record` on the recorder thread.
Nothing is kept between calls: a batch that met an unavailable database may be given again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from worker.contract import internal
from worker.contract.request_v1 import Accepted, Reading, Refused, RequestReader, Unreadable
from worker.contract.result_v1 import answer_event, result_event
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
from worker.core.delivery import Settlement
from worker.core.errors import LedgerRefused
from worker.core.masking import NOBODY, mask
from worker.core.outcome import (
    CallClass,
    CallReport,
    Charged,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    Result,
    worse,
)
from worker.core.retry import (
    Complete,
    DeadLetter,
    Decision,
    RetryLater,
    RetryPolicy,
    decide,
    in_doubt,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from worker.core.delivery import Delivery
    from worker.core.digests import Digests
    from worker.core.request import Mode, VerificationRequest
    from worker.ports import Clock, Ledger, Verifier


@dataclass(frozen=True, slots=True)
class FlowRules:
    """What the flow goes by. `start_within` is how long after its claim a call may still start."""

    mode: Mode
    retries: RetryPolicy
    start_within: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A readable delivery and what the ledger is asked for it."""

    delivery: Delivery
    reading: Accepted | Refused
    claim: ClaimRequest


@dataclass(frozen=True, slots=True)
class Task:
    """A granted request that may be called, until `start_by` on the monotonic clock."""

    asked: Asked
    request: VerificationRequest
    granted: Granted
    start_by: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A delivery whose end is decided and not yet recorded."""

    delivery: Delivery
    entry: Entry


@dataclass(slots=True)
class Admission:
    """What became of a batch of deliveries: exactly one of the three for each."""

    tasks: list[Task] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unstorable:
    """The database refuses this request's data, alone as well."""


class Flow:
    """The life of messages, in batches."""

    def __init__(
        self,
        reader: RequestReader,
        digests: Digests,
        ledger: Ledger,
        verifier: Verifier,
        clock: Clock,
        rules: FlowRules,
    ) -> None:
        self._reader = reader
        self._digests = digests
        self._ledger = ledger
        self._verifier = verifier
        self._clock = clock
        self._rules = rules

    # 1. A delivery is read, checked and claimed.

    def admit(self, deliveries: Sequence[Delivery], token: str) -> Admission:
        """Read and claim a batch; `token` names it, the same at every repeat.

        Raises `LedgerUnavailable`; then nothing has happened that a repeat would do twice.
        """
        admission = Admission()
        now, start_by = self._clock.now(), self._clock.monotonic() + self._rules.start_within
        today = _shanghai_date(now)
        batch: dict[str, Asked] = {}
        for delivery in deliveries:
            reading = self._reader.read(delivery, today)
            if isinstance(reading, Unreadable):
                admission.settlements.append(self._turn_away(delivery, reading, now))
                continue
            asked = self._ask(delivery, reading, now)
            # A second copy in one batch waits, like one that another worker holds.
            if batch.setdefault(asked.claim.request_id, asked) is not asked:
                admission.settlements.append(self._held(asked.delivery, asked.claim))
        claims = self._claim([asked.claim for asked in batch.values()], token)
        for asked, claim in zip(batch.values(), claims, strict=True):
            self._place(asked, claim, admission, now, start_by)
        return admission

    def _ask(self, delivery: Delivery, reading: Accepted | Refused, now: datetime) -> Asked:
        if isinstance(reading, Refused):
            fingerprint = self._digests.body(delivery.body)
            claim = ClaimRequest(
                reading.request_id,
                fingerprint,
                reading.source,
                reading.check_type,
                wants_call=False,
                subject_digest=None,
                masked=NOBODY,
                envelope=reading.envelope,
                expires_at=None,
                context=None,
            )
            return Asked(delivery, reading, claim)
        request = reading.request
        id_card = request.person.id_card
        claim = ClaimRequest(
            request.request_id,
            self._digests.request(request),
            request.source,
            request.check_type,
            wants_call=not _expired(request, now),
            subject_digest=None if id_card is None else self._digests.subject(id_card),
            masked=mask(request.person),
            envelope=reading.envelope,
            expires_at=request.expires_at,
            context=request.context,
            warnings=tuple(f"{each.field} {each.problem}" for each in reading.warnings),
        )
        return Asked(delivery, reading, claim)

    def _claim(self, batch: list[ClaimRequest], token: str) -> list[Claim | Unstorable]:
        """Claim a batch; where its data is refused, halve it until the poison row is alone."""
        if not batch:
            return []
        try:
            return list(self._ledger.claim(batch, token))
        except LedgerRefused:
            if len(batch) == 1:
                return [Unstorable()]
            half = len(batch) // 2
            return self._claim(batch[:half], f"{token}l") + self._claim(batch[half:], f"{token}r")

    # 2. What the claim says decides what is next.

    def _place(
        self,
        asked: Asked,
        claim: Claim | Unstorable,
        admission: Admission,
        now: datetime,
        start_by: float,
    ) -> None:
        match claim:
            case Granted(call_number=None):
                entry = Entry(asked.claim, claim, None, self._settle_unpaid(asked, claim))
                admission.finished.append(Finished(asked.delivery, entry))
            case Granted():
                request = _accepted(asked.reading).request
                admission.tasks.append(Task(asked, request, claim, start_by))
            case AlreadyDone(stored):
                event = result_event(stored, asked.claim.envelope)
                line = _line(asked.claim, "replayed", outcome=stored.result.outcome)
                admission.settlements.append(Settlement(asked.delivery, (event,), line))
            case HeldElsewhere():
                admission.settlements.append(self._held(asked.delivery, asked.claim))
            case Conflicting(kind):
                admission.settlements.append(self._contradict(asked, kind, now))
            case Unstorable():
                problem = FieldProblem("body", "cannot be stored")
                unreadable = Unreadable("unstorable", problem, asked.claim.envelope)
                admission.settlements.append(self._turn_away(asked.delivery, unreadable, now))
            case _ as never:
                assert_never(never)

    def _settle_unpaid(self, asked: Asked, granted: Granted) -> Decision:
        """Decide about a request that is ours but must not be called."""
        if isinstance(asked.reading, Refused):
            message = "the request fails the checks"
            failure = Failure(ErrorKind.INVALID_REQUEST, message, asked.reading.problems)
            return Complete(Result(Outcome.REJECTED, granted.charged, failure=failure))
        return _expire(granted)

    # 3. The call, with no transaction open.

    def call(self, task: Task) -> Finished:
        """Call the provider for one task, unless its time is over."""
        granted, claim = task.granted, task.asked.claim
        if self._clock.monotonic() > task.start_by:
            # It waited too long for a free thread: another worker may soon take it over.
            report = _UNSENT
            decision: Decision = decide(report, granted, self._rules.retries)
        elif _expired(task.request, self._clock.now()):
            report = _UNSENT
            decision = _expire(granted)
        else:
            report = self._verifier.verify(task.request)
            decision = decide(report, granted, self._rules.retries)
        return Finished(task.asked.delivery, Entry(claim, granted, report, decision))

    # 4. Only what is saved may leave.

    def record(self, batch: Sequence[Finished], announced: Sequence[str]) -> list[Settlement]:
        """Record a batch and return how its deliveries are settled.

        `announced` are request ids whose events are confirmed. Raises `LedgerUnavailable`; the
        same batch may be given again.
        """
        saved = self._record([finished.entry for finished in batch], announced)
        return [
            self._settle(finished.delivery, entry, recorded)
            for finished, (entry, recorded) in zip(batch, saved, strict=True)
        ]

    def _record(
        self, batch: list[Entry], announced: Sequence[str]
    ) -> list[tuple[Entry, Recorded | FencedOut]]:
        """Record a batch; where its data is refused, halve it until the poison row is alone."""
        try:
            return list(zip(batch, self._ledger.record(batch, announced), strict=True))
        except LedgerRefused:
            if not batch:
                raise
            if len(batch) == 1:
                entry = _without_texts(batch[0])
                return [(entry, self._ledger.record([entry], announced)[0])]
            half = len(batch) // 2
            return self._record(batch[:half], announced) + self._record(batch[half:], ())

    # 5. Every delivery leaves as a settlement; there is no other way out.

    def _settle(
        self, delivery: Delivery, entry: Entry, recorded: Recorded | FencedOut
    ) -> Settlement:
        claim, decision = entry.asked, entry.decision
        if isinstance(recorded, FencedOut):
            # The lease had lapsed: what the row says now counts, not what we found.
            if isinstance(recorded.now, HeldElsewhere):
                return self._held(delivery, claim)
            event = result_event(recorded.now.stored, claim.envelope)
            line = _line(claim, "fenced_out", outcome=recorded.now.stored.result.outcome)
            return Settlement(delivery, (event,), line)
        facts = _call_facts(entry)
        if isinstance(decision, RetryLater):
            retry = internal.retry(delivery, decision.delay)
            line = _line(claim, "retrying", delay=decision.delay, reason=decision.reason, **facts)
            return Settlement(delivery, (retry,), line)
        if recorded.stored is None:
            raise ValueError("a recorded outcome has a row")
        event = result_event(recorded.stored, claim.envelope)
        line = _line(claim, "completed", outcome=decision.result.outcome, **facts)
        if isinstance(decision, Complete):
            return Settlement(delivery, (event,), line)
        dead = internal.dead_letter(
            delivery,
            decision.reason,
            attempts=entry.granted.attempts + 1,
            last_error=entry.report.call_class if entry.report else CallClass.IN_DOUBT,
            first_seen=entry.granted.requested_at,
        )
        return Settlement(delivery, (event, dead), {**line, "reason": decision.reason})

    def _held(self, delivery: Delivery, claim: ClaimRequest) -> Settlement:
        delay = self._rules.retries.delays[0]
        line = _line(claim, "held_elsewhere", delay=delay)
        return Settlement(delivery, (internal.retry(delivery, delay),), line)

    def _contradict(self, asked: Asked, kind: ErrorKind, now: datetime) -> Settlement:
        """Answer a known id with other data: to its sender alone, no row changes."""
        claim = asked.claim
        event = answer_event(
            Outcome.CONFLICT,
            Failure(kind, _CONFLICTS[kind]),
            claim.envelope,
            request_id=claim.request_id,
            source=claim.source,
            fingerprint=claim.request_id.encode() + claim.fingerprint,
            mode=self._rules.mode,
            now=now,
        )
        line = _line(claim, "conflict", outcome=Outcome.CONFLICT, reason=kind)
        return Settlement(asked.delivery, (event,), line)

    def _turn_away(self, delivery: Delivery, reading: Unreadable, now: datetime) -> Settlement:
        """Keep an unreadable message for a person, and answer where an answer can go."""
        dead = internal.dead_letter(
            delivery, reading.reason, attempts=0, last_error=reading.reason, first_seen=now
        )
        line = {"action": "dead_lettered", "reason": reading.reason}
        if reading.envelope.reply_to is None and reading.envelope.correlation_id is None:
            return Settlement(delivery, (dead,), line)
        event = answer_event(
            Outcome.REJECTED,
            Failure(ErrorKind.UNREADABLE, "the message cannot be read", (reading.problem,)),
            reading.envelope,
            request_id=None,
            source="default",
            fingerprint=self._digests.body(delivery.body),
            mode=self._rules.mode,
            now=now,
        )
        return Settlement(delivery, (dead, event), line)


_UNSENT = CallReport(CallClass.NOT_SENT, Charged.NO, sends=0)
_CONFLICTS = {
    ErrorKind.CONFLICT: "this requestId is known with other data",
    ErrorKind.MODE_MISMATCH: "this requestId belongs to another mode (live or sandbox)",
}
_SHANGHAI = timedelta(hours=8)  # China has had one zone and no summer time since 1991


def _shanghai_date(now: datetime) -> date:
    return (now + _SHANGHAI).date()


def _expired(request: VerificationRequest, now: datetime) -> bool:
    return request.expires_at is not None and request.expires_at <= now


def _expire(granted: Granted) -> Complete | DeadLetter:
    # With a call in doubt it is not `expired`: that would say unpaid.
    if granted.in_doubt_calls > 0:
        return in_doubt()
    failure = Failure(ErrorKind.EXPIRED, "its deadline passed before the call")
    return Complete(Result(Outcome.EXPIRED, granted.charged, failure=failure))


def _accepted(reading: Reading) -> Accepted:
    if not isinstance(reading, Accepted):
        raise TypeError("only an accepted request is granted a call")
    return reading


def _without_texts(entry: Entry) -> Entry:
    """Return an entry that any database takes: the provider's own words are given up."""
    charged = entry.granted.charged
    if entry.report is not None:
        charged = worse(charged, entry.report.charged)
    failure = Failure(ErrorKind.UNSTORABLE, "the provider's answer cannot be stored")
    result = Result(Outcome.FAILED, charged, failure=failure)
    report = entry.report and replace(
        entry.report, auth_info=None, status=None, provider_request_id=None
    )
    return replace(entry, report=report, decision=DeadLetter(result, ErrorKind.UNSTORABLE))


def _line(claim: ClaimRequest, action: str, **facts: object) -> Mapping[str, object]:
    if claim.warnings:
        facts["warnings"] = claim.warnings
    return {
        "action": action,
        "request_id": claim.request_id,
        "source": claim.source,
        "check_type": claim.check_type,
        **facts,
    }


def _call_facts(entry: Entry) -> dict[str, object]:
    facts: dict[str, object] = {"calls": entry.granted.calls}
    if entry.report is not None:
        facts["call_class"] = entry.report.call_class
        facts["call_seconds"] = round(entry.report.seconds, 3)
        facts["charged"] = entry.report.charged
    return facts
