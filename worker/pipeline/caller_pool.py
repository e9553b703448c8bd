"""The callers: as many threads as calls may be under way, as few of them awake as are of use.

Threads that could run wait for each other, for Python runs one at a time: with an instant provider
four callers do half as much again as thirty-two. How many are of use follows from how long a call
waits (Little's law), so that is measured, and the others sleep.
"""

from __future__ import annotations

import time
from collections import deque
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

# Tasks a second that one process could serve if none of them waited: 0.4 ms of a processor each.
# So where a task waits 300 ms up to 750 threads are of use, and where it waits 1 ms four.
_PER_SECOND = 2500
# So many are of use in any case: one sends while the other one's answer is on its way.
_FEWEST = 2
# How much each task counts for the measured wait: the last twenty or so do.
_WEIGHT = 0.05
# Seconds between looks at tasks that take longer than those before them.
_LOOK_EVERY = 0.02


class _Sleeper(Generic[T]):
    """A thread that sleeps until it is handed a task; None: there will be no more."""

    def __init__(self) -> None:
        self.wake_up = Lock()
        self.wake_up.acquire()
        self.task: T | None = None


class CallerPool(Generic[T]):
    """Threads that serve tasks in their order.

    `serve` returns how many seconds of its time it waited for something outside this process;
    `guarded` runs a thread's loop; `sleep` waits between two looks at tasks that are stuck.
    """

    def __init__(
        self,
        size: int,
        serve: Callable[[T], float],
        guarded: Callable[[Callable[[], None]], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._size = size
        self._serve = serve
        self._sleep = sleep
        self._lock = Lock()
        self._left_over = Condition(self._lock)
        self._tasks: deque[T] = deque()
        self._sleepers: list[_Sleeper[T]] = []
        """Who fell asleep last is woken first: the idle connections of the others may close."""
        self._awake = size
        self._served = 0
        self._wait = 0.0
        """How long a task waits."""
        self._closed = False
        loops = [("caller-pool", self._watch_for_stuck_tasks)]
        loops += [(f"caller-{number}", self._work) for number in range(size)]
        self.threads = [Thread(target=guarded, args=(loop,), name=name) for name, loop in loops]

    def put_all(self, tasks: Sequence[T]) -> None:
        """Add tasks and wake those who can serve them."""
        with self._lock:
            self._tasks.extend(tasks)
            self._wake(self._useful)
            if self._tasks:
                self._left_over.notify()

    def close(self) -> None:
        """Let the threads end when all tasks are served."""
        with self._lock:
            self._closed = True
            self._wake(self._size)
            while self._sleepers:
                self._sleepers.pop().wake_up.release()
            self._left_over.notify()

    def _work(self) -> None:
        sleeper = _Sleeper[T]()
        while (task := self._next(sleeper)) is not None:
            waited = self._serve(task)
            with self._lock:
                self._served += 1
                self._wait += (waited - self._wait) * max(_WEIGHT, 1 / self._served)

    def _next(self, sleeper: _Sleeper[T]) -> T | None:
        with self._lock:
            if self._tasks and self._awake <= self._useful:
                return self._tasks.popleft()
            if self._closed:
                return None
            self._awake -= 1
            sleeper.task = None
            self._sleepers.append(sleeper)
        sleeper.wake_up.acquire()
        return sleeper.task

    @property
    def _useful(self) -> int:
        """How many may be awake: as many as serve `_PER_SECOND` tasks a second."""
        if self._closed:
            return self._size
        return min(self._size, _FEWEST + int(self._wait * _PER_SECOND))

    def _wake(self, useful: int) -> None:
        while self._tasks and self._sleepers and self._awake < useful:
            self._awake += 1
            sleeper = self._sleepers.pop()
            sleeper.task = self._tasks.popleft()
            sleeper.wake_up.release()

    def _watch_for_stuck_tasks(self) -> None:
        """Wake more while tasks are left over and those under way do not end."""
        stuck_for = 0.0
        while True:
            with self._lock:
                self._left_over.wait_for(lambda: self._tasks or self._closed)
                if self._closed:
                    return
                seen = self._served
            self._sleep(_LOOK_EVERY)
            with self._lock:
                stuck_for = stuck_for + _LOOK_EVERY if self._served == seen else 0.0
                self._wake(min(self._size, self._useful + int(stuck_for * _PER_SECOND)))
