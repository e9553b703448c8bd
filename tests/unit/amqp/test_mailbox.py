"""Orders reach the loop in their order, with one wake for many."""

from __future__ import annotations

import threading
from functools import partial

from worker.amqp.mailbox import Mailbox


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
    wake = threading.Event()
    mailbox = Mailbox(wake.set)
    done: list[int] = []

    def post() -> None:
        for number in range(2_000):
            mailbox.post(partial(done.append, number))

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(done) < 8_000:
        assert wake.wait(10), f"{len(done)} of 8000 orders, and no wake"
        wake.clear()
        mailbox.run()
    for thread in threads:
        thread.join()
