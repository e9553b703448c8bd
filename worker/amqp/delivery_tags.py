"""Delivery tags: how AMQP numbers what a channel delivers, and what it publishes. Pure.

`AckBook` tells which deliveries can be acknowledged, in as few frames as is safe; `Confirms` keeps
what was published until the broker has confirmed it.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Ack(NamedTuple):
    """One acknowledgement: of this tag, or of it and all before it."""

    tag: int
    multiple: bool


class AckBook:
    """The deliveries of one channel: finished in any order, acknowledged once each.

    `multiple` reaches up to the first tag that is not finished, never past it: it would
    acknowledge work that is still being done. The broker closes a channel that acknowledges a tag
    twice, also with a `multiple` whose own tag is gone, so its tag is always one that is open.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._delivered = 0
        self._prefix = 0
        """All tags up to here are settled with the broker."""
        self._settled: set[int] = set()
        """Tags beyond the prefix that are settled with the broker one by one."""
        self._finished: set[int] = set()

    def delivered(self, tag: int) -> None:
        """Note a delivery. Tags are consecutive; those left out were handed back by pika.

        It rejects what arrives between a cancel and its answer, and does not tell us.
        """
        if tag != self._delivered + 1:
            self._settled.update(range(self._delivered + 1, tag))
        self._delivered = tag

    def finish(self, tag: int) -> None:
        """Note that everything this delivery caused is safe. A second time changes nothing."""
        if self._prefix < tag <= self._delivered and tag not in self._settled:
            self._finished.add(tag)

    def take(self) -> list[Ack]:
        """Return the acknowledgements to send now; each finished tag is in one of them, once."""
        if not self._finished:
            return []
        acks = self._take_prefix()
        if self._finished:
            acks += [Ack(tag, multiple=False) for tag in sorted(self._finished)]
            self._settled |= self._finished
            self._finished.clear()
        return acks

    def _take_prefix(self) -> list[Ack]:
        finished, settled, tag = self._finished, self._settled, self._prefix + 1
        count = last = 0
        while True:
            if tag in finished:
                finished.discard(tag)
                count, last = count + 1, tag
            elif tag in settled:
                settled.discard(tag)
            else:
                break
            tag += 1
        self._prefix = tag - 1
        return [Ack(last, multiple=count > 1)] if count else []


class Confirms(Generic[T]):
    """Publications in the order in which they were sent; each leaves exactly once."""

    def __init__(self) -> None:
        self._next = 1
        self._first = 1
        """Nothing before this number waits."""
        self._waiting: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def sent(self, item: T) -> None:
        """Note one publication; the broker counts them from 1 in each channel."""
        self._waiting[self._next] = item
        self._next += 1

    def take(self, number: int, *, multiple: bool) -> list[T]:
        """Return what a confirm or a nack speaks of, in the order of sending.

        What has left before is not returned again: a returned message is confirmed as well.
        """
        waiting = self._waiting
        if not multiple:
            return [waiting.pop(number)] if number in waiting else []
        numbers = range(self._first, min(number, self._next - 1) + 1)
        self._first = max(self._first, number + 1)
        return [waiting.pop(number) for number in numbers if number in waiting]

    def withdraw(self, is_it: Callable[[T], bool]) -> T | None:
        """Return the earliest publication that `is_it` recognises, and wait for it no more."""
        for number, item in self._waiting.items():
            if is_it(item):
                del self._waiting[number]
                return item
        return None

    def take_all(self) -> list[T]:
        """Return everything that waits, in the order of sending: the channel is gone."""
        items = list(self._waiting.values())
        self._waiting.clear()
        return items
