"""Replaying and dropping: each letter that was selected, once, and no other.

A letter that fails again comes back to the queue with a new mark, so no replay runs in a circle;
one that arrived after the selection was not shown to anybody and stays.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from worker.contract import internal
from worker.contract.names import RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.amqp.dead_letter_queue import DeadLetterQueue, HeldDeadLetters
    from worker.core.delivery import Letter
    from worker.ports import Clock

# Brokers close a channel that holds a message for 30 minutes (`consumer_timeout`), and a slow
# replay takes longer: it lets go of the rest in time and takes hold again.
HOLD_SECONDS = 600.0

L = TypeVar("L")


class Acting(Generic[L]):
    """Does something with chosen letters; `done` counts, also where an error ended it.

    `read` is how they were read when they were chosen.
    """

    def __init__(self, queue: DeadLetterQueue, read: Callable[[Letter], L], clock: Clock) -> None:
        self._queue = queue
        self._read = read
        self._clock = clock
        self.done = 0

    def replay(self, chosen: Iterable[L], per_second: float) -> None:
        """Publish dead letters to the requests queue again, so many a second at most.

        A letter is acknowledged when the broker has confirmed its message, so that a crash at any
        moment leaves it in one queue or in both, never in none. In both it is the ledger that
        answers the second one.
        """

        def again(held: HeldDeadLetters, letter: Letter) -> None:
            held.publish(internal.replay(letter.delivery))
            held.acknowledge(letter)
            held.wait(1.0 / per_second)

        self._each(chosen, again)

    def announce(self, chosen: Iterable[L]) -> None:
        """Publish unrouted events again, as they were; a crash leaves one twice, as above."""

        def again(held: HeldDeadLetters, letter: Letter) -> None:
            held.pass_on(letter, RESULTS)
            held.acknowledge(letter)

        self._each(chosen, again)

    def drop(self, chosen: Iterable[L]) -> None:
        """Take the letters out of the queue for good."""
        self._each(chosen, lambda held, letter: held.acknowledge(letter))

    def _each(self, chosen: Iterable[L], act: Callable[[HeldDeadLetters, Letter], None]) -> None:
        left = Counter(chosen)
        before = -1
        # Whoever replayed or dropped the others meanwhile: a whole pass without one is the end.
        while left.total() and self.done != before:
            before = self.done
            self._pass(left, act)

    def _pass(self, left: Counter[L], act: Callable[[HeldDeadLetters, Letter], None]) -> None:
        until = self._clock.monotonic() + HOLD_SECONDS
        with self._queue.hold() as held:
            for letter in held.letters():
                one = self._read(letter)
                if left[one] > 0 and self._clock.monotonic() < until:
                    act(held, letter)
                    left[one] -= 1
                    self.done += 1
