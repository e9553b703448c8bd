"""A broker that remembers what it was given, and confirms when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition

from worker.core.delivery import Settlement
from worker.ports import DeliverySink

# A test that waits longer has failed: nothing here takes more than milliseconds.
PATIENCE = 10.0


class FakeBroker:
    """The `Broker` of the ports. `confirm` is what the real one does on its own thread."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._unconfirmed: list[Settlement] = []
        self.settled: list[Settlement] = []
        self.wanted: list[int | None] = []
        self.bulk_allowed: list[bool] = []

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Remember what is to be published and acknowledged."""
        with self._changed:
            self.settled += settlements
            self._unconfirmed += settlements
            self._changed.notify_all()

    def pause(self) -> None:
        """Remember that no deliveries are wanted."""
        self._want(0)

    def resume(self, prefetch: int | None = None) -> None:
        """Remember how many deliveries are wanted at once; None is as many as at the start."""
        self._want(prefetch)

    def allow_bulk(self, allowed: bool) -> None:
        """Remember whether bulk may be delivered."""
        with self._changed:
            self.bulk_allowed.append(allowed)
            self._changed.notify_all()

    def _want(self, prefetch: int | None) -> None:
        with self._changed:
            self.wanted.append(prefetch)
            self._changed.notify_all()

    def wait_until_wanted(self, *prefetches: int | None) -> None:
        """Return as soon as it was told exactly this, in this order: 0 is a pause."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.wanted == [*prefetches], PATIENCE):
                raise AssertionError(f"it was told {self.wanted}")

    def wait_until_bulk_allowed(self, *orders: bool) -> None:
        """Return as soon as it was told exactly this of bulk, in this order."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.bulk_allowed == [*orders], PATIENCE):
                raise AssertionError(f"it was told {self.bulk_allowed}")

    def wait_for(self, count: int) -> list[Settlement]:
        """Return all settlements as soon as there are `count`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.settled) >= count, PATIENCE):
                raise AssertionError(f"{len(self.settled)} of {count} settlements came")
            return list(self.settled)

    def confirm(self, sink: DeliverySink) -> int:
        """Confirm all that waits for it and return how much that was."""
        with self._changed:
            confirmed, self._unconfirmed = self._unconfirmed, []
        sink.settled(confirmed)
        return len(confirmed)
