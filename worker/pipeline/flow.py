"""THE FILE: what happens to a message, top to bottom. No threads, no waiting, no sleep.

    deliveries ──admit──> tasks ──call, decide──> finished ──record──> settlements
         │                                           ▲                     ▲
         ├─ settled without paying ──────────────────┘                     │
         └─ nothing to record (unreadable, replay, held, conflict) ────────┘

`admit` runs on the claimer thread, `call` and `decide` on the callers' threads, `record` on the
recorder thread.
Nothing is kept between calls: a batch that met an unavailable database may be given again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf

from worker.contract.request_v1 import Accepted, Refused, RequestReader, Unreadable
from worker.core.claims import ClaimRequest, Entry, Granted, Postponed
from worker.core.delivery import MOST_RETURNS, Delivery, EventFormat, Settlement
from worker.core.digests import Digest, Digests
from worker.core.masking import NOBODY, mask
from worker.core.outcome import CallClass, CallReport, Charged, Decision
from worker.core.request import Mode
from worker.core.retry import RetryPolicy, decide, expire, give_up_message, reject, reuse
from worker.core.timing import shanghai_date
from worker.pipeline.poison import SplittingLedger
from worker.pipeline.settling import Settling
from worker.pipeline.work import Admission, Asked, Finished, Task
from worker.ports import Clock, Ledger, Verifier


@dataclass(frozen=True, slots=True)
class FlowRules:
    """What the flow goes by.

    `start_within` is how long after its claim a call may still start, `punctual_within` how long
    after its place in the shared quota, where there is one (both in seconds).
    """

    mode: Mode
    retries: RetryPolicy
    start_within: float
    punctual_within: float | None = None
    event_format: EventFormat = EventFormat.PLAIN


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
        self._ledger = SplittingLedger(ledger)
        self._verifier = verifier
        self._clock = clock
        self._rules = rules
        self.settling = Settling(
            digests, rules.mode, rules.retries, rules.event_format, reader.keep
        )

    # 1. A delivery is read, checked and claimed.

    def admit(self, deliveries: Sequence[Delivery], token: str) -> Admission:
        """Read and claim a batch; `token` names it, the same at every repeat.

        Raises `LedgerUnavailable`; then nothing has happened that a repeat would do twice.
        """
        admission = Admission()
        now, asked_at = self._clock.now(), self._clock.monotonic()
        today = shanghai_date(now)
        batch: dict[str, Asked] = {}
        for delivery in deliveries:
            reading = self._reader.read(delivery, today)
            if isinstance(reading, Unreadable):
                admission.settlements.append(self.settling.turn_away(delivery, reading, now))
                continue
            asked = self._ask(delivery, reading)
            # A second copy in one batch waits, like one that another worker holds.
            if batch.setdefault(asked.claim.request_id, asked) is not asked:
                admission.settlements.append(self.settling.held(asked.delivery, asked.claim))
        claims = self._ledger.claim([asked.claim for asked in batch.values()], token)
        claimed_at = self._clock.monotonic()
        for asked, claim in zip(batch.values(), claims, strict=True):
            match claim:
                case Granted(call_number=None):
                    entry = Entry(asked.claim, claim, None, self._settle_unpaid(asked, claim))
                    admission.finished.append(Finished(asked.delivery, entry))
                case Granted():
                    admission.tasks.append(self._task(asked, claim, asked_at, claimed_at))
                case Postponed():
                    admission.postponed.append((asked.delivery, claim))
                case _:
                    admission.settlements.append(self.settling.answer(asked, claim, now))
        return admission

    def _ask(self, delivery: Delivery, reading: Accepted | Refused) -> Asked:
        request = None if isinstance(reading, Refused) else reading.request
        of = reading if isinstance(reading, Refused) else reading.request
        claim = ClaimRequest(
            of.request_id,
            self._digests_of(reading),
            of.source,
            of.check_type,
            wants_call=request is not None and delivery.returned <= MOST_RETURNS,
            masked=NOBODY if request is None else mask(request.person),
            envelope=reading.envelope,
            expires_at=None if request is None else request.expires_at,
            context=None if request is None else request.context,
            published_at=_published_at(delivery),
            lane=delivery.lane,
            warnings=() if isinstance(reading, Refused) else _warnings(reading),
        )
        return Asked(delivery, reading, claim)

    def _digests_of(self, reading: Accepted | Refused) -> tuple[Digest, ...]:
        """Return what tells whether a request is known; of a refused one no row keeps a person."""
        if isinstance(reading, Accepted):
            return self._digests.of_request(reading.request)
        asked = reading.request or reading.before
        digests = () if asked is None else self._digests.of_request(asked)
        digests = tuple(replace(each, subject=None) for each in digests)
        return digests if reading.request else (*self._digests.of_body(reading.body), *digests)

    # 2. What the claim says decides what is next.

    def _task(self, asked: Asked, granted: Granted, asked_at: float, claimed_at: float) -> Task:
        if not isinstance(asked.reading, Accepted):
            raise TypeError("only an accepted request is granted a call")
        request = asked.reading.request
        start_by, not_before = asked_at + self._rules.start_within, claimed_at + granted.wait
        expires_at = inf
        if request.expires_at is not None and granted.read_at is not None:
            expires_at = asked_at + (request.expires_at - granted.read_at).total_seconds()
        punctual = self._rules.punctual_within
        if punctual is not None:
            start_by = min(start_by, not_before + punctual)
        return Task(asked, request, granted, not_before, start_by, expires_at)

    def _settle_unpaid(self, asked: Asked, granted: Granted) -> Decision:
        """Decide about a request that is ours but must not be called."""
        if isinstance(asked.reading, Refused):
            return reject(granted, asked.reading.problems)
        if asked.delivery.returned > MOST_RETURNS:
            return give_up_message(granted)
        return expire(granted) if granted.reuse is None else reuse(granted.reuse, granted)

    # 3. The call, with no transaction open, and what follows from it.

    def call(self, task: Task) -> CallReport | None:
        """Call the provider for one task; None where its time is over and no call was made."""
        # A task that waited too long for a free thread may soon be taken over by another worker.
        late = self._clock.monotonic() > task.start_by
        return None if late or self._has_expired(task) else self._verify(task)

    def _has_expired(self, task: Task) -> bool:
        return self._clock.monotonic() >= task.expires_at

    def _verify(self, task: Task) -> CallReport:
        return self._verifier.verify(task.request)

    def decide(self, task: Task, report: CallReport | None, *, outage: bool = False) -> Finished:
        """Decide what follows from a call, which may have ended as it did because of an outage.

        None: no call was made. Nothing is counted, and it comes again unless it has expired.
        """
        granted, retries = task.granted, self._rules.retries
        if report is not None:
            decision = decide(report, granted, retries, outage=outage)
        elif self._has_expired(task):
            report, decision = _UNSENT, expire(granted)
        else:
            report, decision = _UNSENT, decide(_UNSENT, granted, retries)
        entry = Entry(task.asked.claim, granted, report, decision)
        return Finished(task.asked.delivery, entry)

    # 4. Only what is saved may leave, and all of it as settlements (`settling`).

    def record(self, batch: Sequence[Finished], announced: Sequence[str]) -> list[Settlement]:
        """Record a batch and return how its deliveries are settled.

        `announced` are request ids whose events are confirmed. Raises `LedgerUnavailable`; the
        same batch may be given again.
        """
        saved = self._ledger.record([finished.entry for finished in batch], announced)
        return [
            self.settling.of_record(finished.delivery, entry, recorded)
            for finished, (entry, recorded) in zip(batch, saved, strict=True)
        ]


_UNSENT = CallReport(CallClass.NOT_SENT, Charged.NO, sends=0)


def _published_at(delivery: Delivery) -> datetime | None:
    if not delivery.is_dated or delivery.published_at is None:
        return None
    return datetime.fromtimestamp(delivery.published_at, UTC)


def _warnings(reading: Accepted) -> tuple[str, ...]:
    return tuple(f"{each.field} {each.problem}" for each in reading.warnings)
