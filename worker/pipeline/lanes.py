"""Live before bulk, where both wait for the same: of what both want, bulk gets its share.

The share is in per cent of the turns. A lane alone gets every turn, so bulk never stands still, and
is as fast as live while nothing of live waits. What got no call of the shared quota stands `Aside`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from queue import SimpleQueue
from threading import Lock
from typing import Generic, Protocol, TypeVar

from worker.core.claims import Postponed
from worker.core.delivery import Delivery
from worker.core.request import Lane

_WHOLE = 100


class InLane(Protocol):
    """What came by one of the lanes."""

    @property
    def lane(self) -> Lane:
        """Which one."""


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

    def appendleft(self, one: L) -> None:
        """Add one as its lane's first."""
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


@dataclass(slots=True)
class _Waiting:
    delivery: Delivery
    latest: float
    due_at: float = inf


class Aside:
    """What waits for a call of the shared quota. Not for two threads.

    A lane's are asked for again in their order, one for each place that comes free: of all together
    all but one would be turned away again. Each is asked for after `longest` seconds at the latest.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._waiting: list[_Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next_at(self) -> float | None:
        """When the next is due; None: nothing waits."""
        return min((each.due_at for each in self._waiting), default=None)

    def put(self, postponed: Sequence[tuple[Delivery, Postponed]], now: float) -> None:
        """Add what got no call; whatever waits in the same lane is due as the last of them says."""
        self._waiting += [_Waiting(delivery, now + self._longest) for delivery, _ in postponed]
        self._waiting.sort(key=lambda each: (each.delivery.epoch, each.delivery.tag))
        for lane, claim in {delivery.lane: claim for delivery, claim in postponed}.items():
            waiting = [each for each in self._waiting if each.delivery.lane is lane]
            for place, each in enumerate(waiting):
                each.due_at = min(now + claim.seconds + place * claim.apart, each.latest)

    def take_due(self, now: float) -> list[Delivery]:
        """Take out what is due, in order."""
        due = [each.delivery for each in self._waiting if each.due_at <= now]
        self._waiting = [each for each in self._waiting if each.due_at > now]
        return due

    def drop(self, is_useless: Callable[[Delivery], bool]) -> None:
        """Forget what is of no use any more."""
        self._waiting = [each for each in self._waiting if not is_useless(each.delivery)]
