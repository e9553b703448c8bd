"""The loop of the amqp thread: how other threads reach it, and whether it turns.

A loop that is late has more to do than it can, or something on its thread blocks it; the broker
ends a connection whose heartbeats are late for long.
"""

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

# A timer a second costs the idle process nothing that can be measured.
BEAT_SECONDS = 1.0
# The worst lag of the last half minute to minute is kept: whoever looks every 15 s misses none.
WINDOW_SECONDS = 30.0


class Mailbox:
    """Orders for a loop. `wake` must be safe to call from any thread and have `run` called soon.

    A wake is a system call and a trip through the loop: one is enough for all that waits.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._woken = False
        self._orders: deque[Callable[[], None]] = deque()

    def post(self, order: Callable[[], None]) -> None:
        """Have this run on the loop's thread, in the order of posting. Any thread; never blocks."""
        self._orders.append(order)
        if not self._woken:
            self._woken = True
            self._wake()

    def run(self) -> None:
        """Carry out what is there. The loop's thread."""
        # Before the look: an order that comes after it finds the flag down and wakes again.
        self._woken = False
        orders = self._orders
        for _ in range(len(orders)):
            orders.popleft()()


class LoopLag:
    """Beats on a loop from the first `beat` on."""

    def __init__(self, ioloop: Any, clock: Callable[[], float] = monotonic) -> None:
        self._ioloop = ioloop
        self._clock = clock
        self._due: float | None = None
        self._window_ends = 0.0
        self._worst = self._worst_before = 0.0

    def beat(self) -> None:
        """Note that the loop turns, and do so again in a second. The loop's thread."""
        now = self._clock()
        if now >= self._window_ends:
            self._window_ends = now + WINDOW_SECONDS
            self._worst_before, self._worst = self._worst, 0.0
        self._worst = max(self._worst, self._late_by(now))
        self._due = now + BEAT_SECONDS
        self._ioloop.call_later(BEAT_SECONDS, self.beat)

    @property
    def late_by(self) -> float:
        """Seconds by which the next beat is late now; 0 before the first."""
        return self._late_by(self._clock())

    @property
    def lag(self) -> float:
        """The worst lateness of late, in seconds, that of a beat that has not come included."""
        return max(self._worst, self._worst_before, self.late_by)

    def _late_by(self, now: float) -> float:
        return 0.0 if self._due is None else max(0.0, now - self._due)
