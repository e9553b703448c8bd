"""Few are awake where nothing waits, all where everything does; no task is left behind."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, current_thread
from typing import TYPE_CHECKING

from worker.pipeline.caller_pool import CallerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 10.0


class Served:
    """What was served, in its order, by whom, and by how many at once at most."""

    def __init__(self, waited: Callable[[int], float] = lambda _: 0.0) -> None:
        self._waited = waited
        self.begun: SimpleQueue[int] = SimpleQueue()
        self.tasks: SimpleQueue[int] = SimpleQueue()
        self.by: Counter[str] = Counter()
        self.most_at_once = 0
        self._now = 0
        self._lock = Lock()

    def serve(self, task: int) -> float:
        """Serve a task and say how long it waited."""
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.by[current_thread().name] += 1
        self.begun.put(task)
        waited = self._waited(task)
        with self._lock:
            self._now -= 1
        self.tasks.put(task)
        return waited

    def take(self, count: int) -> list[int]:
        """Return so many served tasks."""
        return [self.tasks.get(timeout=PATIENCE) for _ in range(count)]


class Looks:
    """The time between two looks at stuck tasks: over when the test says so, or at the end."""

    def __init__(self) -> None:
        self.due = Semaphore(0)
        self.over = Event()

    def sleep(self, _seconds: float) -> None:
        """Wait for the next look."""
        self.over.is_set() or self.due.acquire()


class Sleepers(list):  # type: ignore[type-arg]
    """The pool's list of sleeping threads, which says when one falls asleep."""

    def __init__(self) -> None:
        super().__init__()
        self.fell_asleep = Semaphore(0)

    def append(self, sleeper: object) -> None:
        """Add one, and say so."""
        super().append(sleeper)
        self.fell_asleep.release()


@contextmanager
def working(
    size: int, served: Served, looks: Looks | None = None, sleepers: Sleepers | None = None
) -> Iterator[CallerPool[int]]:
    looks = looks or Looks()
    pool = CallerPool(size, served.serve, lambda loop: loop(), looks.sleep)
    if sleepers is not None:
        pool._sleepers = sleepers
    for thread in pool.threads:
        thread.start()
    try:
        yield pool
    finally:
        pool.close()
        looks.over.set()
        looks.due.release()
        for thread in pool.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_tasks_are_begun_in_their_order() -> None:
    served = Served()
    with working(1, served) as pool:
        pool.put_all(range(50))
        pool.put_all(range(50, 100))
        assert served.take(100) == list(range(100))


def test_two_serve_what_does_not_wait() -> None:
    served = Served()
    with working(16, served) as pool:
        for first in range(0, 1000, 50):
            pool.put_all(range(first, first + 50))
        assert sorted(served.take(1000)) == list(range(1000))
        assert served.most_at_once <= 2


def test_all_serve_what_is_stuck() -> None:
    over, looks = Event(), Looks()
    served = Served(lambda _: float(over.wait(PATIENCE)))
    with working(8, served, looks) as pool:
        pool.put_all(range(20))
        assert sorted(served.begun.get(timeout=PATIENCE) for _ in range(2)) == [0, 1]
        looks.over.set()  # it looks again and again, for threads that are late to fall asleep too
        looks.due.release()
        assert sorted(served.begun.get(timeout=PATIENCE) for _ in range(6)) == list(range(2, 8))
        over.set()
        assert sorted(served.take(20)) == list(range(20))


def test_as_many_serve_as_the_wait_keeps_busy() -> None:
    over = Event()
    served = Served(lambda task: 0.0021 if task == 0 or over.wait(PATIENCE) else 0.0)
    # 2.1 ms at 2,500 a second keep five busy, and two are awake in any case.
    with working(32, served) as pool:
        pool.put_all([0])
        served.take(1)
        pool.put_all(range(1, 100))
        for _ in range(1 + 7):
            served.begun.get(timeout=PATIENCE)
        over.set()
        served.take(99)
        assert served.most_at_once == 7


def test_those_who_are_too_many_go_to_sleep_again() -> None:
    served = Served(lambda task: 1.0 if task < 20 else 0.0)
    with working(16, served) as pool:
        pool.put_all(range(20))
        served.take(20)
        pool.put_all(range(20, 400))  # after some three hundred the long waits are forgotten
        served.take(380)
        served.most_at_once = 0
        pool.put_all(range(400, 600))
        served.take(200)
        assert served.most_at_once <= 2


def test_who_slept_last_is_woken_first() -> None:
    served, sleepers = Served(), Sleepers()
    with working(8, served, sleepers=sleepers) as pool:
        for _ in range(8):
            assert sleepers.fell_asleep.acquire(timeout=PATIENCE)
        for task in range(50):
            pool.put_all([task])
            assert sleepers.fell_asleep.acquire(timeout=PATIENCE)
    assert list(served.by.values()) == [50]


def test_closing_serves_what_is_left_and_lets_everybody_go() -> None:
    served = Served()
    with working(4, served) as pool:
        pool.put_all(range(200))
    assert sorted(served.take(200)) == list(range(200))
