"""A batch is what gathered; credits bound what is claimed; closing lets everybody go."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest

from tests.fakes.broker import PATIENCE
from tests.fakes.clock import FakeClock
from worker.pipeline.batcher import Batcher, Credits


class Waiter:
    """A thread that takes again and again until `last` comes; what it took comes by `next`."""

    def __init__(self, take: Callable[[], Any], last: Any) -> None:
        self._taken: SimpleQueue[Any] = SimpleQueue()

        def run() -> None:
            while (taken := take()) != last:
                self._taken.put(taken)
            self._taken.put(last)

        self._thread = Thread(target=run, daemon=True)
        self._thread.start()

    def next(self) -> Any:
        return self._taken.get(timeout=PATIENCE)

    @property
    def waits(self) -> bool:
        """Whether nothing more was taken."""
        return self._taken.empty()


def test_a_batch_is_what_gathered_in_its_order_up_to_its_limit() -> None:
    batcher: Batcher[int] = Batcher()
    batcher.put(0)
    batcher.put_all(range(1, 5))
    assert [batcher.take(2), batcher.take(2), batcher.take(2)] == [[0, 1], [2, 3], [4]]
    assert batcher.take(1, 0) == []  # without work a taker leaves after its timeout
    assert not batcher.closed_and_empty


def test_a_waiting_taker_wakes_for_one_for_several_and_for_the_end() -> None:
    batcher: Batcher[int] = Batcher()
    waiter = Waiter(lambda: batcher.take(10), [])
    for number in range(3):
        batcher.put(number)
        assert waiter.next() == [number]
    batcher.put_all([1, 2])
    assert waiter.next() == [1, 2]
    batcher.close()
    assert waiter.next() == []


def test_what_is_inside_can_be_taken_after_closing() -> None:
    batcher: Batcher[int] = Batcher()
    batcher.put(1)
    batcher.close()
    assert not batcher.closed_and_empty
    assert batcher.take(10) == [1]
    assert batcher.closed_and_empty


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

    taken: list[int] = []
    with ThreadPoolExecutor(4) as threads:
        threads.map(put, range(0, 4_000, 1_000))
        while len(taken) < 4_000:
            batch = batcher.take(64, PATIENCE)
            assert batch, f"{len(taken)} of 4000 came"
            taken += batch
    assert sorted(taken) == list(range(4_000))


@pytest.mark.parametrize(
    ("first", "closed", "second", "pauses"),
    [
        ([1, 2], False, [3, 4], [2.0]),  # a batch of several is followed by a fuller one
        ([1], False, [3], []),  # what comes one by one does not wait
        ([1, 2], True, [3], []),  # a closed batcher paces nobody
    ],
)
def test_batches_follow_each_other_at_a_pace(
    first: list[int], closed: bool, second: list[int], pauses: list[float]
) -> None:
    clock, slept = FakeClock(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)
        batcher.put(4)

    batcher: Batcher[int] = Batcher(2.0, clock.monotonic, sleep)
    batcher.put_all(first)
    assert batcher.take(10) == first
    batcher.put(3)
    if closed:
        batcher.close()
    assert batcher.take(10) == second
    assert slept == pauses


def test_a_taker_waits_until_enough_are_free() -> None:
    credit = Credits(8, least=3)
    assert credit.take(6) == 6
    waiter = Waiter(lambda: credit.take(10), 0)
    assert waiter.waits
    credit.give_back(1)
    assert waiter.next() == 3
    credit.set_total(10, least=2)
    assert waiter.next() == 2
    credit.close()
    assert waiter.next() == 0


def test_fewer_credits_are_had_once_those_taken_have_come_back() -> None:
    credit = Credits(4)
    assert credit.take(3) == 3
    credit.set_total(1)
    waiter = Waiter(lambda: credit.take(10), 0)
    credit.give_back(2)
    assert waiter.waits
    credit.give_back(1)
    assert waiter.next() == 1
    credit.set_total(3)
    assert waiter.next() == 2
    credit.close()
    assert waiter.next() == 0


def test_closed_credits_give_none_even_if_some_are_free() -> None:
    credit = Credits(3)
    credit.close()
    assert credit.take(1) == 0
