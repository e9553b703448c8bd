"""Live before bulk, where both wait for the same: of what both want, bulk gets its share.

The share is in per cent of the turns. A lane alone gets every turn, so bulk never stands still, and
is as fast as live while nothing of live waits.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from queue import SimpleQueue
from threading import Lock
from typing import Generic, Protocol, TypeVar

from worker.core.request import Lane

_WHOLE = 100


class InLane(Protocol):
    """What came by one of the lanes."""

    @property
    def lane(self) -> Lane:
        """Which one."""
        ...


L = TypeVar("L", bound=InLane)


class Lanes(Generic[L]):
    """A deque whose next one is live's, or bulk's when it is bulk's turn. Not for two threads."""

    def __init__(self, bulk_share: int) -> None:
        self.live: deque[L] = deque()
        self.bulk: deque[L] = deque()
        self._share = bulk_share
        self._owed = 0

    def __len__(self) -> int:
        return len(self.live) + len(self.bulk)

    def __iter__(self) -> Iterator[L]:
        return chain(self.live, self.bulk)

    def append(self, one: L) -> None:
        """Add one as its lane's last."""
        (self.live if one.lane is Lane.LIVE else self.bulk).append(one)

    def extend(self, many: Iterable[L]) -> None:
        """Add several as their lanes' last."""
        for one in many:
            self.append(one)

    def extendleft(self, many: Iterable[L]) -> None:
        """Add several, each as its lane's first."""
        for one in many:
            (self.live if one.lane is Lane.LIVE else self.bulk).appendleft(one)

    def clear(self) -> None:
        """Forget all."""
        self.live.clear()
        self.bulk.clear()

    def popleft(self) -> L:
        """Take out the next one; IndexError where none is left."""
        if not self.bulk:
            return self.live.popleft()
        if not self.live:
            return self.bulk.popleft()
        self._owed += self._share
        if self._owed < _WHOLE:
            return self.live.popleft()
        self._owed -= _WHOLE
        return self.bulk.popleft()


class LaneQueue(Generic[L]):
    """Lanes that many threads take from, one at a time."""

    def __init__(self, bulk_share: int) -> None:
        self._lanes: Lanes[L] = Lanes(bulk_share)
        self._lock = Lock()
        self._tickets: SimpleQueue[bool] = SimpleQueue()
        """One for each that waits; whoever gets it takes out whichever is next by then."""

    @property
    def bulk_waits(self) -> bool:
        """Whether one of bulk is among those that wait."""
        return bool(self._lanes.bulk)

    def put(self, one: L) -> None:
        """Add one."""
        with self._lock:
            self._lanes.append(one)
        self._tickets.put(True)

    def get(self) -> L | None:
        """Wait for one and take it; None at the end."""
        if not self._tickets.get():
            return None
        with self._lock:
            return self._lanes.popleft()

    def end(self) -> None:
        """Let one taker go when all is taken that was put before."""
        self._tickets.put(False)
