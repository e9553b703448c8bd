"""A pipeline between fakes, on its own threads, with a clock that a test moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from tests.fakes.broker import PATIENCE, FakeBroker
from tests.fakes.messages import deliver, request
from tests.fakes.verifier import FakeVerifier
from tests.unit.pipeline.desk import Desk
from worker.core.breaker import BreakerPolicy
from worker.core.delivery import Delivery
from worker.core.outcome import CallReport
from worker.core.request import Lane, VerificationRequest
from worker.pipeline.flow import Flow
from worker.pipeline.gate import Gate
from worker.pipeline.intake import PipelineSize
from worker.pipeline.runner import Pipeline
from worker.telemetry.metrics import Metrics


class SlowVerifier(FakeVerifier):
    """A provider that says when a call has begun, and answers when it is told to."""

    def __init__(self, *script: CallReport | Exception) -> None:
        super().__init__(*script)
        self.begun, self.answers = Event(), Event()

    def verify(self, request: VerificationRequest) -> CallReport:
        """Answer as the script says."""
        self.begun.set()
        assert self.answers.wait(PATIENCE)
        return super().verify(request)


class Stack:
    """A pipeline between fakes. Its clock stands, so a deadline is how long `stop` may wait."""

    def __init__(
        self,
        desk: Desk | None = None,
        callers: int = 2,
        wait: float = 60.0,
        flow: Flow | None = None,
    ) -> None:
        self.desk = desk or Desk()
        self.broker, self.failed, self.metrics = FakeBroker(), Event(), Metrics()
        policy = BreakerPolicy(failures=3, first_wait=wait)
        self.gate = Gate(policy, callers, self.desk.clock, lambda: 0.5)
        self.pipeline = Pipeline(
            flow or self.desk.flow,
            self.broker,
            self.desk.clock,
            PipelineSize(callers, batch_limit=4),
            self.gate,
            self.failed.set,
            self.metrics,
        )

    def give(self, *ids: str, lane: Lane = Lane.LIVE) -> list[Delivery]:
        """Deliver requests with these ids."""
        deliveries = [deliver(request(each), message_id=each, lane=lane) for each in ids]
        for delivery in deliveries:
            self.pipeline.deliver(delivery)
        return deliveries

    def wait_for_rows(self, count: int) -> None:
        """Return when so many requests were claimed."""
        self.desk.ledger.wait_until(lambda: len(self.desk.rows) >= count)
        assert len(self.desk.rows) == count

    def wait_for_faults(self, left: int) -> None:
        """Return when the ledger has raised all but so many of its faults."""
        self.desk.ledger.wait_until(lambda: len(self.desk.ledger.faults) <= left)

    def thread(self, name: str) -> Thread:
        """Return the thread of a name."""
        (thread,) = [each for each in self.pipeline._threads if each.name == name]
        return thread

    def database_answers(self) -> bool:
        """Ask the pipeline anew, each time."""
        return self.pipeline.database_answers

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake who waits at the gate."""
        self.desk.clock.advance(seconds)
        with self.gate._changed:
            self.gate._changed.notify_all()

    def where_to(self) -> dict[str, str]:
        """Return each message's next place by its id."""
        return {
            str(each.delivery.message_id): each.publications[0].routing_key
            for each in self.broker.settled
        }


@contextmanager
def running(desk: Desk | None = None, callers: int = 2, wait: float = 60.0) -> Iterator[Stack]:
    """Run a pipeline until the test is over."""
    stack = Stack(desk, callers, wait)
    stack.pipeline.start()
    try:
        yield stack
    finally:
        stack.pipeline.stop(stack.desk.clock.monotonic() + PATIENCE)
