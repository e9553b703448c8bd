"""A broker that answers heartbeats and nothing else is cut; waits between tries grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.amqp.reconnecting import ANSWER_SECONDS, Backoff, ReconnectingConnection

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeLoop:
    """Timers that run when the test says so."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Keep the timer."""
        self.timers.append((delay, callback))
        return self.timers[-1]

    def remove_timeout(self, timer: Any) -> None:
        """Forget the timer."""
        self.timers.remove(timer)


class FakePika:
    """A connection that is open and can be cut."""

    is_closing = is_closed = False
    cuts = 0

    def cut(self) -> None:
        """Count."""
        self.cuts += 1

    def close(self) -> None:
        """Say nothing, as a frozen broker does."""


class FakeOwner:
    """Uses nothing."""

    def connected(self, pika: Any) -> None:
        """Be content."""

    def disconnected(self) -> None:
        """Be content."""


def connected() -> tuple[ReconnectingConnection, FakeLoop, FakePika]:
    loop, pika = FakeLoop(), FakePika()
    connection = ReconnectingConnection("amqp://localhost", "consume", loop, FakeOwner())
    connection._pika = pika
    connection._opened(pika)
    return connection, loop, pika


def test_an_answer_that_does_not_come_cuts_the_connection() -> None:
    connection, loop, pika = connected()
    connection.expect_answer()
    ((delay, run_out),) = loop.timers
    assert delay == ANSWER_SECONDS
    run_out()
    assert pika.cuts == 1


def test_an_answer_in_time_and_a_close_end_the_wait() -> None:
    connection, loop, pika = connected()
    connection.expect_answer()
    connection.answered()
    assert loop.timers == []
    connection.expect_answer()
    connection.expect_answer()  # the next question begins the time anew
    assert len(loop.timers) == 1
    connection.close(lambda: None)
    assert loop.timers == []
    assert pika.cuts == 0


def test_the_bound_doubles_from_one_second_to_ten() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_the_jitter_reaches_from_nothing_to_the_bound() -> None:
    backoff = Backoff(jitter=lambda: 0.25)
    assert [backoff.next(), backoff.next()] == [0.25, 0.5]


def test_a_success_begins_again() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() == 1
