"""The way in: deliveries that wait, those that are held at all, and the claimer that takes them.

The broker's thread delivers, settles and takes back; it never waits here. `claim_all` is the
claimer's thread. Prefetch bounds what is inside, credits bound what is claimed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from threading import Event

import structlog

from worker.core.claims import Postponed, Shortage
from worker.core.delivery import Delivery, Settlement
from worker.core.request import Lane
from worker.pipeline.batcher import Batcher, Credits
from worker.pipeline.database_retry import DatabaseRetry
from worker.pipeline.flow import Flow
from worker.pipeline.gate import Gate
from worker.pipeline.lanes import Aside, LaneQueue, Lanes
from worker.pipeline.work import Admission, Finished, Task
from worker.ports import Broker, Clock, LedgerUnavailable
from worker.telemetry.logs import LogEvent
from worker.telemetry.metrics import Metrics

# Seconds until what was postponed is asked again at the latest, and between two lines that say so.
_LONGEST_ASIDE = 60.0
# Claimed requests per caller: one that is called and one that waits, so that callers need not
# wait for the next claim. The lease covers both.
CLAIMS_PER_CALLER = 2


@dataclass(frozen=True, slots=True)
class PipelineSize:
    """How many callers there are and how many requests one transaction takes at most."""

    callers: int
    batch_limit: int
    claims_per_caller: int = CLAIMS_PER_CALLER
    bulk_share: int = 10
    """What bulk gets at least of claims and callers, in per cent."""

    def claims(self, callers: int) -> tuple[int, int]:
        """Return how many requests may be claimed, and for how many at least a claim is made.

        So many as may wait for a caller are claimed together, when the last of them is called.
        """
        total = callers * self.claims_per_caller
        return total, max(1, min(self.batch_limit, total - callers))


@dataclass
class Intake:
    """From the broker's deliveries to `tasks` for the callers, and to what is finished at once."""

    flow: Flow
    broker: Broker
    clock: Clock
    gate: Gate
    database: DatabaseRetry
    metrics: Metrics
    size: PipelineSize
    finished: Batcher[Finished]

    def __post_init__(self) -> None:
        share = self.size.bulk_share
        self.tasks: LaneQueue[Task] = LaneQueue(share)
        self.credits = Credits(*self.size.claims(self.size.callers))
        self.claimed = 0
        """Requests that got a lease. The claimer alone counts: no lock."""
        self.stopping = Event()
        self._log = structlog.get_logger()
        self._arrived: Lanes[Delivery] = Lanes(share)
        self._inbox: Batcher[Delivery] = Batcher(waiting=self._arrived)
        # The broker's thread alone counts.
        self._delivered, self._settled = dict.fromkeys(Lane, 0), dict.fromkeys(Lane, 0)
        self._returned_epochs = dict.fromkeys(Lane, -1)
        """What a lane delivered up to this epoch the broker has queued again."""
        self._aside = Aside(_LONGEST_ASIDE)
        """The claimer's."""
        self._say_postponed_at = -inf

    def held_of(self, lane: Lane) -> int:
        """Return how many messages of a lane are delivered and not acknowledged."""
        return self._delivered[lane] - self._settled[lane]

    def has_returned(self, delivery: Delivery) -> bool:
        """Whether the broker has queued this again."""
        return delivery.epoch <= self._returned_epochs[delivery.lane]

    # The broker's thread.

    def deliver(self, delivery: Delivery) -> None:
        """Take one delivery."""
        self._delivered[delivery.lane] += 1
        self._inbox.put(delivery)
        # A live message behind other live ones waits as long as they do.
        is_first = delivery.lane is Lane.LIVE and len(self._arrived.live) == 1
        if is_first and self.tasks.bulk_waits:
            self.credits.hurry()

    def returned(self, epoch: int, lane: Lane) -> None:
        """Forget what is not claimed of these deliveries: it comes again, or has come already."""
        self._returned_epochs[lane] = epoch
        self._settled[lane] = self._delivered[lane]
        self._inbox.drop(self.has_returned)

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Count these as held no more: they are acknowledged."""
        for each in settlements:
            if not self.has_returned(each.delivery):
                self._settled[each.delivery.lane] += 1

    # The breaker thread.

    def allow_calls(self, calls: int) -> None:
        """Claim no more than may be called soon: a claim's lease runs."""
        self.credits.set_total(*self.size.claims(calls))

    # The claimer's thread.

    def claim_all(self) -> None:
        """Claim as long as there are credits."""
        batch_number = 0
        while credits_taken := self.credits.take(self.size.batch_limit):
            deliveries = self._next_deliveries(credits_taken)
            if self.stopping.is_set():
                return
            if not deliveries:
                self.credits.give_back(credits_taken)
                continue
            batch_number += 1
            admission = self._admit(deliveries, str(batch_number))
            if admission is None:
                return
            self.claimed += len(admission.tasks) + len(admission.finished)
            self.credits.give_back(credits_taken - len(admission.tasks))
            for task in admission.tasks:
                self.tasks.put(task)
            if admission.finished:
                self.finished.put_all(admission.finished)
            # Nothing is written of these: who comes again gets the same answer.
            answers = [
                each for each in admission.settlements if not self.has_returned(each.delivery)
            ]
            if answers:
                self.broker.settle(answers)
            if admission.postponed:
                self._set_aside(admission.postponed)

    def _next_deliveries(self, limit: int) -> list[Delivery]:
        """Wait for deliveries; those that stood aside come first when their time has come.

        What no call may be made for is handed back.
        """
        now = self.clock.monotonic()
        self._aside.drop(self.has_returned)
        if due := self._aside.take_due(now):
            self._inbox.put_back(due)
        next_at = self._aside.next_at
        wait = None if next_at is None else next_at - now
        # Within a batch live comes first as well: its calls have the earlier places in the quota.
        deliveries = sorted(self._current(self._inbox.take(limit, wait)), key=_is_bulk)
        if (closed_for := self.gate.open_for) is not None:
            self._hand_back(deliveries, closed_for)
            return []
        if (closed_for := self.gate.bulk_closed_for) is not None:
            live = sum(not _is_bulk(each) for each in deliveries)
            self._hand_back(deliveries[live:], closed_for)
            return deliveries[:live]
        return deliveries

    def _admit(self, deliveries: Sequence[Delivery], token: str) -> Admission | None:
        """Admit a batch when it is known whether people have ordered a pause.

        A batch that was tried is tried again even if we have parked meanwhile, or the broker has
        queued it again: its claims may be committed, and then they must be let go again
        (`Flow.decide`), not left to lapse. None: told to give up.
        """
        batch, tried = deliveries, False

        def admit() -> Admission:
            nonlocal batch, tried
            if not tried:
                batch = self._current(batch)
            if not self.gate.pause_is_known:
                raise LedgerUnavailable(self.gate.pause_problem)
            tried = True
            return self.flow.admit(batch, token)

        admission = self.database.keep_trying(admit, self.stopping)
        if batch and admission is not None:
            self.metrics.claimed(len(batch))
        return admission

    def _current(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Leave out what the broker has queued again."""
        return [each for each in deliveries if not self.has_returned(each)]

    def _hand_back(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """Let others have these, or ourselves later."""
        if not deliveries or self.stopping.is_set():
            return
        self.broker.settle(self.flow.settling.hand_back(deliveries, seconds))
        self._log.info(LogEvent.HANDED_BACK, messages=len(deliveries), seconds=round(seconds, 1))

    def _set_aside(self, postponed: Sequence[tuple[Delivery, Postponed]]) -> None:
        """Keep what waits for a call, so that what comes behind it and needs none is answered.

        For tomorrow's budget we park, or the bulk lane alone does. The longest wait is a minute,
        whatever was computed: the database's clock may be set right by then.
        """
        now = self.clock.monotonic()
        spent, waiting = [], []
        for delivery, claim in postponed:
            if claim.shortage is Shortage.CALLS_PER_MINUTE:
                waiting.append((delivery, claim))
                continue
            self.gate.budget_spent(claim)
            spent.append(delivery)
        self._aside.put(waiting, now)
        if spent:
            self._inbox.put_back(spent)
        elif now >= self._say_postponed_at:
            self._say_postponed_at = now + _LONGEST_ASIDE
            first = postponed[0][1]
            facts = {"reason": first.shortage, "seconds": round(first.seconds, 1)}
            self._log.info(LogEvent.POSTPONED, messages=len(self._aside), **facts)

    def close(self) -> None:
        """Let the claimer go; what is not claimed goes back to the broker with the channel."""
        self.credits.close()
        self._inbox.close()


def _is_bulk(delivery: Delivery) -> bool:
    return delivery.lane is Lane.BULK
