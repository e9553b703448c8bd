"""One call computes while the others wait for the provider.

Python runs one thread at a time, and threads that compete for the interpreter hand it over at
every system call: twenty times a message, which costs as much as the message. Whoever holds this
lock computes undisturbed, and releases it for as long as it waits for the network.
"""

from __future__ import annotations

from threading import Lock, local
from time import monotonic


class ComputeLock:
    """Held to compute (`with lock:`), released to wait for something (`with lock.released:`)."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._own = local()
        self.released = _Released(self._lock, self._own)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._own.seconds = 0.0

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def waited(self) -> float:
        """Seconds for which this thread has released the lock since it took it.

        Not those for which it then waited to have it again.
        """
        seconds: float = self._own.seconds
        return seconds


class _Released:
    """Gives the lock up and takes it again; only a thread that holds it may."""

    __slots__ = ("_lock", "_own")

    def __init__(self, lock: Lock, own: local) -> None:
        self._lock = lock
        self._own = own

    def __enter__(self) -> None:
        self._lock.release()
        self._own.since = monotonic()

    def __exit__(self, *_: object) -> None:
        self._own.seconds += monotonic() - self._own.since
        self._lock.acquire()
