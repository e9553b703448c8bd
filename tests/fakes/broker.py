"""A broker that remembers what it was given, and confirms when a test says so."""

from collections.abc import Callable, Sequence
from threading import Condition
from typing import TypeVar

from worker.core.delivery import Settlement
from worker.ports import DeliverySink

T = TypeVar("T")

# A test that waits longer has failed: a stalled machine takes seconds for what takes milliseconds.
PATIENCE = 60.0


class FakeBroker:
    """The `Broker` of the ports. `confirm` is what the real one does on its own thread."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._unconfirmed: list[Settlement] = []
        self.settled: list[Settlement] = []
        self.wanted: list[int | None] = []
        self.bulk_allowed: list[bool] = []

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._add(self._unconfirmed, settlements)
        self._add(self.settled, settlements)

    def pause(self) -> None:
        self._add(self.wanted, [0])

    def resume(self, prefetch: int | None = None) -> None:
        """Remember how many deliveries are wanted at once; None is as many as at the start."""
        self._add(self.wanted, [prefetch])

    def allow_bulk(self, allowed: bool) -> None:
        self._add(self.bulk_allowed, [allowed])

    def wait_until_wanted(self, *prefetches: int | None) -> None:
        """Return as soon as it was told exactly this, in this order: 0 is a pause."""
        self._wait(lambda: self.wanted == [*prefetches], self.wanted)

    def wait_until_bulk_allowed(self, *orders: bool) -> None:
        """Return as soon as it was told exactly this of bulk, in this order."""
        self._wait(lambda: self.bulk_allowed == [*orders], self.bulk_allowed)

    def wait_for(self, count: int) -> list[Settlement]:
        """Return all settlements as soon as there are `count`."""
        self._wait(lambda: len(self.settled) >= count, self.settled)
        return list(self.settled)

    def _add(self, told: list[T], orders: Sequence[T]) -> None:
        with self._changed:
            told += orders
            self._changed.notify_all()

    def _wait(self, holds: Callable[[], bool], told: list[T]) -> None:
        with self._changed:
            if not self._changed.wait_for(holds, PATIENCE):
                raise AssertionError(f"it was told {told}")

    def confirm(self, sink: DeliverySink) -> int:
        """Confirm all that waits for it and return how much that was."""
        with self._changed:
            confirmed, self._unconfirmed = self._unconfirmed, []
        sink.settled(confirmed)
        return len(confirmed)
