"""Where work gathers between two threads: a batch is what came while the last one was busy."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")


class Batcher(Generic[T]):
    """A queue that is emptied in batches, without a timer: at light load a batch is one."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._changed = Condition()
        self._closed = False

    def put(self, one: T) -> None:
        """Add one; never blocks for long. The broker's prefetch bounds what can gather."""
        with self._changed:
            self._waiting.append(one)
            self._changed.notify()

    def put_all(self, many: Iterable[T]) -> None:
        """Add several with one wake-up."""
        with self._changed:
            self._waiting.extend(many)
            self._changed.notify()

    def put_back(self, many: Sequence[T]) -> None:
        """Add what was taken and cannot be used yet, before all others."""
        with self._changed:
            self._waiting.extendleft(reversed(many))
            self._changed.notify()

    def take(self, limit: int, timeout: float | None = None) -> list[T]:
        """Wait for at least one and return up to `limit`; empty after `timeout` or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout)
            return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def close(self) -> None:
        """Let no taker wait any more; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed_and_empty(self) -> bool:
        """Whether nothing is left and nothing will come."""
        with self._changed:
            return self._closed and not self._waiting


class Credits:
    """How many requests may be claimed and not yet called: a claim holds a lease that runs."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken = 0
        self._changed = Condition()
        self._closed = False

    def take(self, limit: int) -> int:
        """Wait for at least one credit and take up to `limit`; 0 when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self._total or self._closed)
            if self._closed:
                return 0
            taken = min(limit, self._total - self._taken)
            self._taken += taken
            return taken

    def give_back(self, count: int) -> None:
        """Return credits."""
        if count:
            with self._changed:
                self._taken -= count
                self._changed.notify()

    def set_total(self, total: int) -> None:
        """Have more or fewer credits; those taken stay taken until they are given back."""
        with self._changed:
            self._total = total
            self._changed.notify()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
