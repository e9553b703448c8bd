"""One call computes while the others wait for the provider.

Python runs one thread at a time, and threads that compete for their turn hand it to and fro at
every system call: twenty times a message, which costs as much as the message. Here whoever computes
has the floor and is left alone until it waits.
"""

from __future__ import annotations

from threading import Lock


class Floor:
    """Held to compute (`with floor:`), left to wait for something (`with floor.left:`)."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.left = _Left(self._lock)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Left:
    """The way out and back in; whoever goes must have the floor."""

    __slots__ = ("_lock",)

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self._lock.acquire()
