"""The threads of the pipeline: claimer, callers, recorder and breaker thread.

The broker's thread puts deliveries into the inbox and learns what was settled; it never waits
here. Prefetch bounds what is inside, credits bound what is claimed, the gate bounds what is
called. The breaker thread parks the worker while the gate lets nothing through.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from threading import Event, Thread
from typing import assert_never

import structlog

from worker.core.breaker import BreakerState, Closed, Open, ParkReason, Probing
from worker.core.claims import Postponed, Shortage
from worker.core.delivery import Delivery, Settlement
from worker.core.operations import Pause
from worker.core.request import Lane
from worker.pipeline.batcher import Batcher, Credits
from worker.pipeline.database_retry import DatabaseRetry
from worker.pipeline.flow import Admission, Finished, Flow, Task
from worker.pipeline.gate import AWAY_AFTER, DatabaseAway, Gate, GateView
from worker.pipeline.lanes import LaneQueue, Lanes
from worker.ports import Broker, Clock, LedgerUnavailable
from worker.telemetry.logs import LogEvent, describe
from worker.telemetry.metrics import Metrics

# Event marks that no outcome takes along are written after this many seconds. Until then a crash
# makes the relay repeat an event, so soon is good; once a message would be a commit more for each.
ANNOUNCE_PAUSE = 1.0
# Claimed requests per caller: one that is called and one that waits, so that callers need not
# wait for the next claim. The lease covers both.
CLAIMS_PER_CALLER = 2
# At load, results are recorded so many seconds after each other, thirty or forty at once. A call
# takes longer, and nobody waits where results come one by one.
RECORD_PACE = 0.03
# Seconds until what was postponed is asked again at the latest, and between two lines that say so.
_LONGEST_ASIDE = 60.0
# What leaves no row of its own, as the log names it.
_TURNED_AWAY = ("conflict", "dead_lettered")
# One delivery of a lane at a time while we find out whether the provider works again.
PROBE_PREFETCH = 1


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


class Pipeline:
    """Runs the flow on threads; the `DeliverySink` of the broker."""

    def __init__(
        self,
        flow: Flow,
        broker: Broker,
        clock: Clock,
        size: PipelineSize,
        gate: Gate,
        on_failure: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._flow = flow
        self._broker = broker
        self._clock = clock
        self._size = size
        self._on_failure = on_failure
        self._metrics = metrics
        self._log = structlog.get_logger()
        self._arrived: Lanes[Delivery] = Lanes(size.bulk_share)
        self._inbox: Batcher[Delivery] = Batcher(waiting=self._arrived)
        self._credits = Credits(*size.claims(size.callers))
        self._gate = gate
        self._seen = GateView(Closed(), size.callers)
        """What the breaker thread acted on last."""
        self._finished: Batcher[Finished] = Batcher(RECORD_PACE)
        self._announced: Batcher[str] = Batcher()
        self.turned_away: Batcher[tuple[object, object]] = Batcher()
        """Source and reason of each message that was settled without a row of its own."""
        self._database = DatabaseRetry(clock, AWAY_AFTER, lambda away: gate.set_ledger(away=away))
        # Each is counted up by one thread alone: no lock.
        self._claimed = self._recorded = 0
        self._delivered, self._settled = dict.fromkeys(Lane, 0), dict.fromkeys(Lane, 0)
        self._aside: list[tuple[float, Delivery]] = []
        """What waits for a call of the shared quota and until when, in order; the claimer's."""
        self._say_postponed_at = -inf
        self._returned_epochs = dict.fromkeys(Lane, -1)
        """What a lane delivered up to this epoch the broker has queued again."""
        self._broken = Event()
        self._stopping = Event()
        self._giving_up = Event()
        self._claimer = Thread(target=self._guarded, args=(self._claim_all,), name="claimer")
        self._recorder = Thread(target=self._guarded, args=(self._record_all,), name="recorder")
        self._breaker = Thread(target=self._guarded, args=(self._park_and_resume,), name="breaker")
        self._tasks: LaneQueue[Task] = LaneQueue(size.bulk_share)
        """For the callers."""
        self._callers = [
            Thread(target=self._guarded, args=(self._call_all,), name=f"caller-{number}")
            for number in range(size.callers)
        ]
        self._threads = [self._claimer, *self._callers, self._recorder, self._breaker]
        for thread in self._threads:
            # A thread that cannot be joined within the grace must not keep the process alive:
            # then the leases speak.
            thread.daemon = True

    def start(self) -> None:
        """Start all threads; the broker's begins after it.

        So no message is taken before the database has answered, or in a pause.
        """
        self._seen = self._gate.view
        if not isinstance(self._seen.state, Closed):
            self._take_messages(self._seen.state)
        for thread in self._threads:
            thread.start()

    @property
    def database_answers(self) -> bool:
        """Whether the database can be used now.

        People's orders are read every second, so even who has nothing to claim or record knows.
        """
        return self.database_problem is None

    @property
    def database_problem(self) -> str | None:
        """Why the database cannot be used now; empty where nobody knows, None where it can."""
        if not self._database.database_answers:
            return self._database.problem
        return None if self._gate.pause_is_known else self._gate.pause_problem

    @property
    def claimed(self) -> int:
        """Requests with a lease of ours that are not recorded yet."""
        return self._claimed - self._recorded

    @property
    def held(self) -> int:
        """Messages that the broker delivered and that are not acknowledged yet."""
        return sum(self.held_of(lane) for lane in Lane)

    def held_of(self, lane: Lane) -> int:
        """Return how many of them a lane has delivered."""
        return self._delivered[lane] - self._settled[lane]

    @property
    def dead(self) -> list[str]:
        """The names of threads that have ended though nobody told them to."""
        if self._stopping.is_set():
            return []
        return [each.name for each in self._threads if each.ident and not each.is_alive()]

    # The broker's thread.

    def deliver(self, delivery: Delivery) -> None:
        """Take one delivery."""
        self._delivered[delivery.lane] += 1
        self._inbox.put(delivery)
        # Live that finds others of its own waits as long as they do.
        is_first = delivery.lane is Lane.LIVE and len(self._arrived.live) == 1
        if is_first and self._tasks.bulk_waits:
            self._credits.hurry()

    def returned(self, epoch: int, lane: Lane = Lane.LIVE) -> None:
        """Forget what is not claimed of these deliveries: it comes again, or has come already."""
        self._returned_epochs[lane] = epoch
        self._settled[lane] = self._delivered[lane]
        self._inbox.drop(self._has_returned)

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Log each message once, when all that it caused is safe, and mark its event as sent."""
        announced = [
            publication.event_of
            for settlement in settlements
            for publication in settlement.publications
            if publication.event_of is not None
        ]
        if announced:
            self._announced.put_all(announced)
        for each in settlements:
            if not self._has_returned(each.delivery):
                self._settled[each.delivery.lane] += 1
        self._metrics.settled(settlements)
        for settlement in settlements:
            if line := settlement.line:
                self._log.info(LogEvent.SETTLED, **line)
                if line["action"] in _TURNED_AWAY:
                    self.turned_away.put((line.get("source"), line["reason"]))

    # The pipeline's threads.

    def _claim_all(self) -> None:
        batch_number = 0
        while credits_taken := self._credits.take(self._size.batch_limit):
            deliveries = self._next_deliveries(credits_taken)
            if self._stopping.is_set():
                return
            if not deliveries:
                self._credits.give_back(credits_taken)
                continue
            batch_number += 1
            admission = self._admit(deliveries, str(batch_number))
            if admission is None:
                return
            self._claimed += len(admission.tasks) + len(admission.finished)
            self._credits.give_back(credits_taken - len(admission.tasks))
            for task in admission.tasks:
                self._tasks.put(task)
            if admission.finished:
                self._finished.put_all(admission.finished)
            # Nothing is written of these: who comes again gets the same answer.
            answers = [
                each for each in admission.settlements if not self._has_returned(each.delivery)
            ]
            if answers:
                self._broker.settle(answers)
            if admission.postponed:
                self._set_aside(admission.postponed)

    def _next_deliveries(self, limit: int) -> list[Delivery]:
        """Wait for deliveries; those that stood aside come first when their time has come.

        What no call may be made for is handed back.
        """
        now = self._clock.monotonic()
        aside = [each for each in self._aside if not self._has_returned(each[1])]
        self._aside = [each for each in aside if each[0] > now]
        if due := [delivery for due_at, delivery in aside if due_at <= now]:
            self._inbox.put_back(due)
        next_due = min((due_at for due_at, _ in self._aside), default=None)
        wait = None if next_due is None else next_due - now
        # Within a batch live comes first as well: its calls have the earlier places in the quota.
        deliveries = sorted(self._current(self._inbox.take(limit, wait)), key=_is_bulk)
        if (closed_for := self._gate.open_for) is not None:
            self._hand_back(deliveries, closed_for)
            return []
        if (closed_for := self._gate.bulk_closed_for) is not None:
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
            if not self._gate.pause_is_known:
                raise LedgerUnavailable(self._gate.pause_problem)
            tried = True
            return self._flow.admit(batch, token)

        admission = self._database.keep_trying(admit, self._stopping)
        if batch and admission is not None:
            self._metrics.claimed(len(batch))
        return admission

    def _has_returned(self, delivery: Delivery) -> bool:
        return delivery.epoch <= self._returned_epochs[delivery.lane]

    def _current(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Leave out what the broker has queued again."""
        return [each for each in deliveries if not self._has_returned(each)]

    def _hand_back(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """Let others have these, or ourselves later."""
        if not deliveries or self._stopping.is_set():
            return
        self._broker.settle(self._flow.settling.hand_back(deliveries, seconds))
        self._log.info(LogEvent.HANDED_BACK, messages=len(deliveries), seconds=round(seconds, 1))

    def _set_aside(self, postponed: Sequence[tuple[Delivery, Postponed]]) -> None:
        """Keep what waits for a call, so that what comes behind it and needs none is answered.

        For tomorrow's budget we park, or the bulk lane alone does. The longest wait is a minute,
        whatever was computed: the database's clock may be set right by then.
        """
        now = self._clock.monotonic()
        spent = []
        for delivery, claim in postponed:
            if claim.shortage is Shortage.CALLS_PER_MINUTE:
                self._aside.append((now + min(claim.seconds, _LONGEST_ASIDE), delivery))
                continue
            if claim.shortage is Shortage.DAILY_BUDGET:
                self._gate.budget_spent(claim)
            else:
                self._gate.bulk_budget_spent(claim)
            spent.append(delivery)
        if spent:
            self._inbox.put_back(spent)
        elif now >= self._say_postponed_at:
            self._say_postponed_at = now + _LONGEST_ASIDE
            first = postponed[0][1]
            facts = {"reason": first.shortage, "seconds": round(first.seconds, 1)}
            self._log.info(LogEvent.POSTPONED, messages=len(self._aside), **facts)

    def _call_all(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._call(task)

    def _call(self, task: Task) -> None:
        """Call for a task when the gate lets it through."""
        # What the broker has queued again is called when it comes again, or there would be two.
        may_call = not self._has_returned(task.asked.delivery) and self._gate.enter(
            task.not_before, called_before=task.granted.calls > 1
        )
        report, outage = None, False
        if may_call:
            report = self._flow.call(task)
            outage = self._gate.after_call(report)
        finished = self._flow.decide(task, report, outage=outage)
        self._credits.give_back(1)
        self._finished.put(finished)

    def _record_all(self) -> None:
        while not self._finished.closed_and_empty:
            batch = self._finished.take(self._size.batch_limit, ANNOUNCE_PAUSE)
            announced = self._announced.take(self._size.batch_limit * 8, 0)
            if not batch and not announced:
                continue
            settlements = self._database.keep_trying(
                lambda batch=batch, announced=announced: self._flow.record(batch, announced),  # type: ignore[misc]
                self._giving_up,
            )
            if settlements is None:
                return
            self._recorded += len(batch)
            if batch:
                self._metrics.recorded([finished.entry for finished in batch])
            self._broker.settle(settlements)

    def _park_and_resume(self) -> None:
        """Claim no more than may be called soon, for a claim's lease runs; nothing while parked."""
        while (now := self._gate.await_change(self._seen)) is not None:
            if now.calls != self._seen.calls:
                self._credits.set_total(*self._size.claims(now.calls))
            if type(now.state) is not type(self._seen.state):
                self._take_messages(now.state)
            if now.bulk is not self._seen.bulk:
                self._broker.allow_bulk(now.bulk)
                self._log.info(LogEvent.BULK_GOES_ON if now.bulk else LogEvent.BULK_BUDGET_SPENT)
            self._seen = now

    def _take_messages(self, state: BreakerState | Pause | DatabaseAway) -> None:
        """Stop consuming while no call may be made; then one message at a time; then all."""
        match state:
            case Pause():
                self._broker.pause()
                why = {"because": state.reason, "by": state.by}
                self._log.warning(LogEvent.PARKED, reason=ParkReason.PAUSED, **why)
            case DatabaseAway():
                self._broker.pause()
                self._log.warning(LogEvent.PARKED, reason=ParkReason.DATABASE)
            case Open():
                self._broker.pause()
                facts: dict[str, object] = {
                    "probe_in": round(state.until - self._clock.monotonic(), 1)
                }
                if because := self._gate.because:
                    facts["because"] = because
                self._log.warning(LogEvent.PARKED, reason=state.reason, **facts)
            case Probing():
                self._broker.resume(PROBE_PREFETCH)
                self._log.info(LogEvent.PROBING, reason=state.reason)
            case Closed():
                self._broker.resume()
                self._log.info(LogEvent.RESUMED)
            case _ as never:
                assert_never(never)

    def _guarded(self, loop: Callable[[], None]) -> None:
        """Run a thread's top loop; what nobody expected is reported and stops the process."""
        try:
            loop()
        except Exception as error:  # noqa: BLE001  # top loop
            self._log.error(LogEvent.FAILED, **describe(error))
            self._broken.set()
            self._on_failure()

    # The main thread.

    def stop(self, deadline: float) -> bool:
        """Finish the calls under way and begin no other; True when all was recorded.

        What was claimed and is not called is let go: it comes again, uncounted. What is not
        claimed goes back to the broker with the channel. The broker must have stopped delivering.
        `deadline` is on the monotonic clock.
        """
        self._stopping.set()
        self._gate.shut_down()
        self._credits.close()
        self._inbox.close()
        done = self._join([self._claimer], deadline)
        for _ in self._callers:
            self._tasks.end()
        done = self._join(self._callers, deadline) and done
        self._finished.close()
        done = self._join([self._recorder], deadline) and done
        self._giving_up.set()
        return done and not self._broken.is_set()

    def flush_announced(self) -> None:
        """Write the last event marks, once; the relay repeats an event whose mark is missing."""
        while announced := self._announced.take(1000, 0):
            try:
                self._flow.record([], announced)
            except LedgerUnavailable as error:
                self._log.warning(LogEvent.DATABASE_UNAVAILABLE, reason=str(error), tries=1)
                return

    def _join(self, threads: list[Thread], deadline: float) -> bool:
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in threads)


def _is_bulk(delivery: Delivery) -> bool:
    return delivery.lane is Lane.BULK
