"""The threads of the pipeline: claimer, callers, recorder and breaker thread.

The broker's thread puts deliveries into the intake and learns what was settled; it never waits
here. The gate bounds what is called.
"""

from collections.abc import Callable, Sequence
from threading import Event, Thread

import structlog

from worker.core.delivery import Delivery, Settlement
from worker.core.request import Lane
from worker.pipeline.batcher import Batcher
from worker.pipeline.database_retry import DatabaseRetry
from worker.pipeline.flow import Flow
from worker.pipeline.gate import AWAY_AFTER, Gate
from worker.pipeline.intake import Intake, PipelineSize
from worker.pipeline.parking import Parking
from worker.pipeline.work import Finished
from worker.ports import Broker, Clock, LedgerUnavailable
from worker.telemetry.logs import LogEvent, describe
from worker.telemetry.metrics import Metrics

# Event marks that no outcome takes along are written after this many seconds. Until then a crash
# makes the relay repeat an event, so soon is good; once a message would be a commit more for each.
ANNOUNCE_PAUSE = 1.0
# At load, results are recorded so many seconds after each other, thirty or forty at once. A call
# takes longer, and nobody waits where results come one by one.
RECORD_PACE = 0.03
# What leaves no row of its own, as the log names it.
_TURNED_AWAY = ("conflict", "dead_lettered")


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
        self._gate = gate
        self._finished: Batcher[Finished] = Batcher(RECORD_PACE)
        self._announced: Batcher[str] = Batcher()
        self.turned_away: Batcher[tuple[object, object]] = Batcher()
        """Source and reason of each message that was settled without a row of its own."""
        self._database = DatabaseRetry(clock, AWAY_AFTER, lambda away: gate.set_ledger(away=away))
        self._intake = Intake(
            flow, broker, clock, gate, self._database, metrics, size, self._finished
        )
        self._credits = self._intake.credits
        self._parking = Parking(gate, broker, clock, size.callers, self._intake.allow_calls)
        self._recorded = 0
        """The recorder alone counts: no lock."""
        self._broken = Event()
        self._giving_up = Event()
        self._claimer = self._thread("claimer", self._intake.claim_all)
        self._recorder = self._thread("recorder", self._record_all)
        self._callers = [
            self._thread(f"caller-{number}", self._call_all) for number in range(size.callers)
        ]
        breaker = self._thread("breaker", self._parking.run)
        self._threads = [self._claimer, *self._callers, self._recorder, breaker]

    def _thread(self, name: str, loop: Callable[[], None]) -> Thread:
        # A thread that cannot be joined within the grace must not keep the process alive: then
        # the leases speak.
        return Thread(target=self._guarded, args=(loop,), name=name, daemon=True)

    def start(self) -> None:
        """Start all threads; the broker's begins after it.

        So no message is taken before the database has answered, or in a pause.
        """
        self._parking.begin()
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
        return self._intake.claimed - self._recorded

    @property
    def held(self) -> int:
        """Messages that the broker delivered and that are not acknowledged yet."""
        return sum(self.held_of(lane) for lane in Lane)

    def held_of(self, lane: Lane) -> int:
        """Return how many of them a lane has delivered."""
        return self._intake.held_of(lane)

    @property
    def dead(self) -> list[str]:
        """The names of threads that have ended though nobody told them to."""
        if self._intake.stopping.is_set():
            return []
        return [each.name for each in self._threads if each.ident and not each.is_alive()]

    # The broker's thread.

    def deliver(self, delivery: Delivery) -> None:
        """Take one delivery."""
        self._intake.deliver(delivery)

    def returned(self, epoch: int, lane: Lane = Lane.LIVE) -> None:
        """Forget what is not claimed of these deliveries: it comes again, or has come already."""
        self._intake.returned(epoch, lane)

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
        self._intake.settled(settlements)
        self._metrics.settled(settlements)
        for settlement in settlements:
            if line := settlement.line:
                self._log.info(LogEvent.SETTLED, **line)
                if line["action"] in _TURNED_AWAY:
                    self.turned_away.put((line.get("source"), line["reason"]))

    # The pipeline's threads.

    def _call_all(self) -> None:
        """Call for each task when the gate lets it through."""
        while (task := self._intake.tasks.get()) is not None:
            # What the broker has queued again is called when it comes again, or there would be two.
            may_call = not self._intake.has_returned(task.asked.delivery) and self._gate.enter(
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
        self._intake.stopping.set()
        self._gate.shut_down()
        self._intake.close()
        done = self._join([self._claimer], deadline)
        for _ in self._callers:
            self._intake.tasks.end()
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
