"""A pipeline between fakes, on its own threads, with a clock that a test moves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Self

from tests.fakes.broker import PATIENCE, FakeBroker
from tests.fakes.messages import deliver, request
from tests.unit.pipeline.desk import Desk
from worker.core.breaker import BreakerPolicy
from worker.core.delivery import Delivery
from worker.core.outcome import CallReport
from worker.core.request import Lane
from worker.pipeline.flow import Flow
from worker.pipeline.gate import Gate
from worker.pipeline.intake import PipelineSize
from worker.pipeline.runner import Pipeline
from worker.ports import LedgerUnavailable
from worker.telemetry.metrics import Metrics

AWAY = LedgerUnavailable("SQLSTATE 53100")
_FOR_EVER = 10_000


class Stack:
    """A pipeline between fakes; within `with` it runs.

    Its clock stands, so a deadline is how long `stop` may wait.
    """

    def __init__(
        self,
        desk: Desk | None = None,
        callers: int = 2,
        wait: float = 60.0,
        flow: Flow | None = None,
    ) -> None:
        self.desk = desk or Desk()
        self.provider, self.ledger = self.desk.provider, self.desk.ledger
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

    def __enter__(self) -> Self:
        self.pipeline.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.answers.set()
        self.stop()
        self.join()

    def stop(self) -> bool:
        """Let the pipeline finish; True when all was recorded."""
        return self.pipeline.stop(self.desk.clock.monotonic() + PATIENCE)

    def give(self, *ids: str, lane: Lane = Lane.LIVE) -> list[Delivery]:
        deliveries = [deliver(request(each), message_id=each, lane=lane) for each in ids]
        for delivery in deliveries:
            self.pipeline.deliver(delivery)
        return deliveries

    def wait_for_rows(self, count: int) -> None:
        self.ledger.wait_until(lambda: len(self.desk.rows) >= count)
        assert len(self.desk.rows) == count

    def lose_database(self) -> None:
        self.ledger.faults.extend([AWAY] * _FOR_EVER)

    def wait_for_tries(self, count: int) -> None:
        """Return when the ledger has failed so many times."""
        self.ledger.wait_until(lambda: len(self.ledger.faults) <= _FOR_EVER - count)

    def restore_database(self) -> None:
        with self.ledger.changed:
            self.ledger.faults.clear()

    def join(self, *names: str) -> None:
        """Wait for the ends of the threads of these names; of all where none is named."""
        for each in self.pipeline._threads:
            if each.name in names or not names:
                each.join(PATIENCE)
                assert not each.is_alive()

    def database_answers(self) -> bool:
        """Ask the pipeline anew, each time."""
        return self.pipeline.database_answers

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake who waits at the gate."""
        self.desk.clock.advance(seconds)
        with self.gate._changed:
            self.gate._changed.notify_all()

    def where_to(self) -> dict[str, str]:
        return {
            str(each.delivery.message_id): each.publications[0].routing_key
            for each in self.broker.settled
        }


@contextmanager
def calling(*ids: str, script: Sequence[CallReport] = ()) -> Iterator[Stack]:
    """Run a pipeline whose one caller waits for the answer to the first of these requests.

    The second is claimed, and the others are held.
    """
    stack = Stack(Desk(*script), callers=1)
    stack.provider.answers.clear()
    stack.give(*ids)
    with stack:
        stack.wait_for_rows(min(len(ids), 2))
        assert stack.provider.begun.wait(PATIENCE)
        yield stack
