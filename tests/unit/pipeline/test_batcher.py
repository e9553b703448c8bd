"""A batch is what gathered; credits bound what is claimed; closing lets everybody go."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread, Timer
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from worker.pipeline.batcher import Batcher, Credits

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
PATIENCE = 10.0


class Waiter(Generic[T]):
    """A thread that takes again and again until `last` comes; what it took is in `taken`."""

    def __init__(self, take: Callable[[], T], last: T) -> None:
        self.taken: SimpleQueue[T] = SimpleQueue()

        def run() -> None:
            while True:
                taken = take()
                self.taken.put(taken)
                if taken == last:
                    return

        self._thread = Thread(target=run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait until the thread has left."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def test_a_batch_is_what_gathered_in_its_order() -> None:
    batcher: Batcher[int] = Batcher()
    batcher.put(1)
    batcher.put_all([2, 3])
    assert batcher.take(10) == [1, 2, 3]


def test_a_batch_is_never_above_its_limit_and_the_rest_stays() -> None:
    batcher: Batcher[int] = Batcher()
    batcher.put_all(range(5))
    assert [batcher.take(2), batcher.take(2), batcher.take(2)] == [[0, 1], [2, 3], [4]]


def test_a_taker_without_work_leaves_after_its_timeout() -> None:
    assert Batcher[int]().take(1, 0) == []


def test_a_waiting_taker_wakes_for_one() -> None:
    batcher: Batcher[int] = Batcher()
    waiter = Waiter[list[int]](lambda: batcher.take(10), [])
    for number in range(3):
        batcher.put(number)
        assert waiter.taken.get(timeout=PATIENCE) == [number]
    batcher.close()
    waiter.end()


def test_a_waiting_taker_wakes_for_several() -> None:
    batcher: Batcher[int] = Batcher()
    waiter = Waiter[list[int]](lambda: batcher.take(10), [])
    batcher.put_all([1, 2])
    assert waiter.taken.get(timeout=PATIENCE) == [1, 2]
    batcher.close()
    waiter.end()


def test_closing_lets_a_waiting_taker_go_with_nothing() -> None:
    batcher: Batcher[int] = Batcher()
    waiter = Waiter[list[int]](lambda: batcher.take(10), [])
    batcher.close()
    assert waiter.taken.get(timeout=PATIENCE) == []
    waiter.end()


def test_what_is_inside_can_be_taken_after_closing() -> None:
    batcher: Batcher[int] = Batcher()
    batcher.put(1)
    batcher.close()
    assert not batcher.closed_and_empty
    assert batcher.take(10) == [1]
    assert batcher.closed_and_empty


def test_an_open_batcher_is_never_at_its_end() -> None:
    assert not Batcher[int]().closed_and_empty


def test_what_is_put_back_comes_first_and_in_its_order() -> None:
    batcher: Batcher[int] = Batcher()
    batcher.put_all([1, 2, 3])
    batcher.put_back(batcher.take(2))
    assert batcher.take(10) == [1, 2, 3]


def test_nothing_that_many_threads_put_is_lost_or_doubled() -> None:
    batcher: Batcher[int] = Batcher()

    def put(first: int) -> None:
        for number in range(first, first + 1_000):
            batcher.put(number)

    threads = [Thread(target=put, args=(first,)) for first in range(0, 4_000, 1_000)]
    for thread in threads:
        thread.start()
    taken: list[int] = []
    while len(taken) < 4_000:
        batch = batcher.take(64, PATIENCE)
        assert batch, f"{len(taken)} of 4000 came"
        taken += batch
    assert sorted(taken) == list(range(4_000))
    for thread in threads:
        thread.join(PATIENCE)


def test_a_batch_of_several_is_followed_by_a_fuller_one() -> None:
    batcher: Batcher[int] = Batcher(pace=0.2)
    batcher.put_all([1, 2])
    assert batcher.take(10) == [1, 2]
    batcher.put(3)
    Timer(0.05, batcher.put, (4,)).start()
    assert batcher.take(10) == [3, 4]


def test_what_comes_one_by_one_does_not_wait() -> None:
    batcher: Batcher[int] = Batcher(pace=PATIENCE)
    for number in range(3):
        batcher.put(number)
        assert batcher.take(10) == [number]


def test_a_closed_batcher_paces_nobody() -> None:
    batcher: Batcher[int] = Batcher(pace=PATIENCE)
    batcher.put_all([1, 2, 3])
    assert batcher.take(2) == [1, 2]
    batcher.close()
    started = monotonic()
    assert batcher.take(10) == [3]
    assert monotonic() - started < PATIENCE / 2


def test_credits_are_taken_up_to_the_limit_and_up_to_what_is_free() -> None:
    credit = Credits(5)
    assert [credit.take(3), credit.take(3)] == [3, 2]


def test_a_taker_without_credit_waits_until_some_come_back() -> None:
    credit = Credits(2)
    assert credit.take(2) == 2
    waiter = Waiter(lambda: credit.take(10), 0)
    for count in (1, 2):
        credit.give_back(count)
        assert waiter.taken.get(timeout=PATIENCE) == count
    credit.close()
    waiter.end()


def test_fewer_credits_are_had_once_those_taken_have_come_back() -> None:
    credit = Credits(4)
    assert credit.take(3) == 3
    credit.set_total(1)
    waiter = Waiter(lambda: credit.take(10), 0)
    credit.give_back(2)
    assert waiter.taken.empty()
    credit.give_back(1)
    assert waiter.taken.get(timeout=PATIENCE) == 1
    credit.set_total(3)
    assert waiter.taken.get(timeout=PATIENCE) == 2
    credit.close()
    waiter.end()


def test_credits_are_taken_when_enough_are_free() -> None:
    credit = Credits(8, least=3)
    assert credit.take(6) == 6
    waiter = Waiter(lambda: credit.take(10), 0)
    assert waiter.taken.empty()
    credit.give_back(1)
    assert waiter.taken.get(timeout=PATIENCE) == 3
    credit.set_total(10, least=2)
    assert waiter.taken.get(timeout=PATIENCE) == 2
    credit.close()
    waiter.end()


def test_closing_lets_a_taker_without_credit_go() -> None:
    credit = Credits(1)
    credit.take(1)
    waiter = Waiter(lambda: credit.take(1), 0)
    credit.close()
    assert waiter.taken.get(timeout=PATIENCE) == 0
    waiter.end()


def test_closed_credits_give_none_even_if_some_are_free() -> None:
    credit = Credits(3)
    credit.give_back(0)
    credit.close()
    assert credit.take(1) == 0
