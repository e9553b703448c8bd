"""One call computes while the others wait for the provider.

Python runs one thread at a time, and threads that compete for their turn hand it to and fro at
every system call: twenty times a message, which costs as much as the message. Here whoever computes
has the floor and is left alone until it waits.
"""

from __future__ import annotations

from threading import Lock, local
from time import monotonic


class Floor:
    """Held to compute (`with floor:`), left to wait for something (`with floor.left:`)."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._own = local()
        self.left = _Left(self._lock, self._own)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._own.away = 0.0

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def away(self) -> float:
        """Seconds for which this thread has left the floor since it entered it.

        Not those for which it then waited to have the floor again.
        """
        seconds: float = self._own.away
        return seconds


class _Left:
    """The way out and back in; whoever goes must have the floor."""

    __slots__ = ("_lock", "_own")

    def __init__(self, lock: Lock, own: local) -> None:
        self._lock = lock
        self._own = own

    def __enter__(self) -> None:
        self._lock.release()
        self._own.since = monotonic()

    def __exit__(self, *_: object) -> None:
        self._own.away += monotonic() - self._own.since
        self._lock.acquire()
