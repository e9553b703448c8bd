"""Few are awake where nothing waits, all where everything does; no task is left behind."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Lock, current_thread
from time import sleep
from typing import TYPE_CHECKING

from worker.pipeline.caller_pool import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 10.0


class Served:
    """What was served, in its order, by whom, and by how many at once at most."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[int] = SimpleQueue()
        self.by: Counter[str] = Counter()
        self.most_at_once = 0
        self.begun: SimpleQueue[int] = SimpleQueue()
        self._now = 0
        self._lock = Lock()

    def by_waiting(self, seconds: Callable[[int], float]) -> Callable[[int], float]:
        """Return a function that serves a task and says that it waited so long."""

        def serve(task: int) -> float:
            with self._lock:
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                self.by[current_thread().name] += 1
            self.begun.put(task)
            waited = seconds(task)
            with self._lock:
                self._now -= 1
            self.tasks.put(task)
            return waited

        return serve

    def take(self, count: int) -> list[int]:
        """Return so many served tasks."""
        return [self.tasks.get(timeout=PATIENCE) for _ in range(count)]


@contextmanager
def working(size: int, serve: Callable[[int], float]) -> Iterator[Crew[int]]:
    crew = Crew(size, serve, lambda loop: loop())
    for thread in crew.threads:
        thread.start()
    try:
        yield crew
    finally:
        crew.close()
        for thread in crew.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_tasks_are_begun_in_their_order() -> None:
    served = Served()
    with working(1, served.by_waiting(lambda _: 0.0)) as crew:
        crew.put_all(range(50))
        crew.put_all(range(50, 100))
        assert served.take(100) == list(range(100))


def test_two_serve_what_does_not_wait() -> None:
    served = Served()
    with working(16, served.by_waiting(lambda _: 0.0)) as crew:
        for first in range(0, 1000, 50):
            crew.put_all(range(first, first + 50))
        assert sorted(served.take(1000)) == list(range(1000))
    assert served.most_at_once <= 2


def test_all_serve_what_waits_long() -> None:
    served, over = Served(), Event()

    def wait(_: int) -> float:
        return 1.0 if over.wait(PATIENCE) else 0.0

    with working(8, served.by_waiting(wait)) as crew:
        crew.put_all(range(20))
        assert sorted(served.begun.get(timeout=PATIENCE) for _ in range(8)) == list(range(8))
        over.set()
        assert sorted(served.take(20)) == list(range(20))


def test_as_many_serve_as_the_wait_keeps_busy() -> None:
    served = Served()

    def wait(_: int) -> float:
        sleep(0.002)
        return 0.002

    # 2 ms at 2,500 a second keep five busy, and two are awake in any case.
    with working(32, served.by_waiting(wait)) as crew:
        crew.put_all(range(300))
        served.take(300)
    assert 2 < served.most_at_once <= 7


def test_those_who_are_too_many_go_to_sleep_again() -> None:
    served = Served()
    with working(16, served.by_waiting(lambda task: 1.0 if task < 20 else 0.0)) as crew:
        crew.put_all(range(20))
        served.take(20)
        crew.put_all(range(20, 300))  # after a hundred the long waits are forgotten
        served.take(280)
        served.most_at_once = 0
        crew.put_all(range(300, 500))
        served.take(200)
        assert served.most_at_once <= 2


def test_who_slept_last_is_woken_first() -> None:
    served = Served()
    with working(8, served.by_waiting(lambda _: 0.0)) as crew:
        for task in range(50):
            crew.put_all([task])
            served.take(1)
            sleep(0.001)
    assert len(served.by) <= 2


def test_closing_serves_what_is_left_and_lets_everybody_go() -> None:
    served = Served()
    with working(4, served.by_waiting(lambda _: 0.0)) as crew:
        crew.put_all(range(200))
    assert sorted(served.take(200)) == list(range(200))
