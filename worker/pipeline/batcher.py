"""Where work gathers between two threads: a batch is what came while the last one was busy."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Condition
from time import monotonic, sleep
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Waiting(Protocol[T]):
    """What waits, in the order in which it is taken: a deque, as a rule."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...
    def append(self, one: T, /) -> None: ...  # noqa: D102  # as a deque's
    def appendleft(self, one: T, /) -> None: ...  # noqa: D102
    def popleft(self) -> T: ...  # noqa: D102
    def clear(self) -> None: ...  # noqa: D102


class Batcher(Generic[T]):
    """A queue that is emptied in batches; at light load a batch is one, and waits for nothing.

    Where more than one came together, the next batch is taken `pace` seconds after that one at the
    earliest: a statement for thirty rows costs little more than one for three.
    """

    def __init__(
        self,
        pace: float = 0.0,
        now: Callable[[], float] = monotonic,
        sleep: Callable[[float], None] = sleep,
        waiting: Waiting[T] | None = None,
    ) -> None:
        self._pace = pace
        self._now = now
        self._sleep = sleep
        self._next_at = 0.0
        self._waiting: Waiting[T] = deque() if waiting is None else waiting
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
            for one in many:
                self._waiting.append(one)
            self._changed.notify()

    def put_back(self, many: Sequence[T]) -> None:
        """Add what was taken and cannot be used yet, before all others."""
        with self._changed:
            for one in reversed(many):
                self._waiting.appendleft(one)
            self._changed.notify()

    def drop(self, is_useless: Callable[[T], bool]) -> None:
        """Forget what waits and is of no use any more."""
        with self._changed:
            useful = [one for one in self._waiting if not is_useless(one)]
            self._waiting.clear()
            for one in useful:
                self._waiting.append(one)

    def take(self, limit: int, timeout: float | None = None) -> list[T]:
        """Wait for at least one and return up to `limit`; empty after `timeout` or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout)
            wait = 0.0 if self._closed else self._next_at - self._now()
        if wait > 0:
            self._sleep(wait)  # not on the condition: each that comes would wake us
        with self._changed:
            batch = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if len(batch) > 1:
            self._next_at = self._now() + self._pace
        return batch

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
    """How many requests may be claimed and not yet called: a claim holds a lease that runs.

    A claim is a transaction, so many are taken at once: a take waits until `least` are free. In a
    `hurry` one that is free is enough.
    """

    def __init__(self, total: int, least: int = 1) -> None:
        self._total = total
        self._least = least
        self._taken = 0
        self._hurry = False
        self._changed = Condition()
        self._closed = False

    def take(self, limit: int) -> int:
        """Wait for credits and take up to `limit`; 0 when closed."""
        with self._changed:
            self._changed.wait_for(self._enough_are_free)
            if self._closed:
                return 0
            taken = min(limit, self._total - self._taken)
            self._taken += taken
            self._hurry = False
            return taken

    def hurry(self) -> None:
        """Let the next take wait for no more than one."""
        with self._changed:
            self._hurry = True
            self._changed.notify()

    def give_back(self, count: int) -> None:
        """Return credits."""
        if count:
            with self._changed:
                self._taken -= count
                if self._enough_are_free():
                    self._changed.notify()

    def set_total(self, total: int, least: int = 1) -> None:
        """Have more or fewer credits; those taken stay taken until they are given back."""
        with self._changed:
            self._total, self._least = total, least
            self._changed.notify()

    def _enough_are_free(self) -> bool:
        least = 1 if self._hurry else self._least
        return self._total - self._taken >= least or self._closed

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
