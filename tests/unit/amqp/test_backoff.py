"""Waits grow to half a minute, jittered over their whole length."""

from __future__ import annotations

from worker.amqp.backoff import Backoff


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
