"""Orders reach the loop with one wake for many; its lag is known now and of late."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

from tests.fakes.broker import PATIENCE
from tests.fakes.clock import FakeClock
from tests.fakes.loop import FakeLoop
from worker.amqp.loop import BEAT_SECONDS, WINDOW_SECONDS, LoopLag, Mailbox


class Turning:
    """A loop whose only timer a test fires, after so many seconds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._loop = FakeLoop()
        self.lag = LoopLag(self._loop, self.clock.monotonic)

    def turn(self, after: float = BEAT_SECONDS) -> None:
        self.clock.advance(after)
        if self._loop.timers:
            self._loop.run_timers()
        else:
            self.lag.beat()


def test_a_loop_that_has_begun_and_stands_is_later_every_second() -> None:
    loop = Turning()
    loop.clock.advance(100)
    assert loop.lag.late_by == loop.lag.lag == 0
    for _ in range(100):
        loop.turn()
        assert loop.lag.late_by == loop.lag.lag == 0
    loop.clock.advance(BEAT_SECONDS + 31)
    assert loop.lag.late_by == loop.lag.lag == 31


def test_a_late_beat_is_remembered_for_a_window_at_least_and_then_forgotten() -> None:
    loop = Turning()
    loop.turn()
    loop.turn(after=BEAT_SECONDS + 2)
    for _ in range(int(WINDOW_SECONDS)):
        loop.turn()
        assert loop.lag.late_by == 0
        assert loop.lag.lag == 2
    for _ in range(int(WINDOW_SECONDS) + 1):
        loop.turn()
    assert loop.lag.lag == 0


def test_many_orders_wake_the_loop_once() -> None:
    wakes: list[None] = []
    done: list[int] = []
    mailbox = Mailbox(lambda: wakes.append(None))
    for number in range(3):
        mailbox.post(partial(done.append, number))
    assert len(wakes) == 1
    mailbox.run()
    assert done == [0, 1, 2]


def test_an_order_given_by_an_order_wakes_again() -> None:
    wakes: list[None] = []
    done: list[str] = []
    mailbox = Mailbox(lambda: wakes.append(None))
    mailbox.post(lambda: mailbox.post(lambda: done.append("inner")))
    mailbox.run()
    assert done == []  # the loop gets to breathe in between
    assert len(wakes) == 2
    mailbox.run()
    assert done == ["inner"]


def test_no_order_of_many_threads_is_forgotten() -> None:
    wake = Event()
    mailbox = Mailbox(wake.set)
    done: list[int] = []

    def post() -> None:
        for number in range(2_000):
            mailbox.post(partial(done.append, number))

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(post)
        while len(done) < 8_000:
            assert wake.wait(PATIENCE), f"{len(done)} of 8000 orders, and no wake"
            wake.clear()
            mailbox.run()
