"""What was published on one channel and is not confirmed yet, by sequence number. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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
