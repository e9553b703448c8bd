"""Replaying and dropping: each letter that was selected, once, and no other.

A letter that fails again comes back to the queue with a new mark, so no replay runs in a circle;
one that arrived after the selection was not shown to anybody and stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.contract import internal

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from worker.core.delivery import Letter
    from worker.deadletters.reading import LetterReader
    from worker.ports import Clock, HeldLetters, LetterQueue

# Brokers close a channel that holds a message for 30 minutes (`consumer_timeout`), and a slow
# replay takes longer: it lets go of the rest in time and takes hold again.
HOLD_SECONDS = 600.0


class Acting:
    """Does something with chosen letters; `done` counts, also where an error ended it."""

    def __init__(self, queue: LetterQueue, reader: LetterReader, clock: Clock) -> None:
        self._queue = queue
        self._reader = reader
        self._clock = clock
        self.done = 0

    def replay(self, marks: Counter[bytes], per_second: float) -> None:
        """Publish the letters' messages to the requests queue again, so many a second at most.

        A letter is acknowledged when the broker has confirmed its message, so that a crash at any
        moment leaves it in one queue or in both, never in none. In both it is the ledger that
        answers the second one.
        """

        def again(held: HeldLetters, letter: Letter) -> None:
            held.publish(internal.replay(letter.delivery))
            held.acknowledge(letter)
            held.wait(1.0 / per_second)

        self._each(marks, again)

    def drop(self, marks: Counter[bytes]) -> None:
        """Take the letters out of the queue for good."""
        self._each(marks, lambda held, letter: held.acknowledge(letter))

    def _each(self, marks: Counter[bytes], act: Callable[[HeldLetters, Letter], None]) -> None:
        left = marks.copy()
        before = -1
        # Whoever replayed or dropped the others meanwhile: a whole pass without one is the end.
        while left.total() and self.done != before:
            before = self.done
            self._pass(left, act)

    def _pass(self, left: Counter[bytes], act: Callable[[HeldLetters, Letter], None]) -> None:
        until = self._clock.monotonic() + HOLD_SECONDS
        with self._queue.hold() as held:
            for letter in held.letters():
                mark = self._reader.read(letter).mark
                if left[mark] > 0 and self._clock.monotonic() < until:
                    act(held, letter)
                    left[mark] -= 1
                    self.done += 1
