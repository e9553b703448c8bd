"""How other threads reach the amqp thread: many orders, one wake."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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
