"""A new release comes: each worker is replaced under load, one after the other."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika

from tests.bench.soak_load import id_card
from tests.e2e.harness import REQUESTS, Stack, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator

PER_SECOND = 100.0


class Load:
    """Publishes requests about persons of their own, steadily; `ids` are the confirmed ones."""

    def __init__(self, amqp_url: str) -> None:
        self.ids: list[str] = []
        self._parameters = pika.URLParameters(amqp_url)
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Publish until the block is left."""
        thread = threading.Thread(target=self._publish)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _publish(self) -> None:
        with pika.BlockingConnection(self._parameters) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            while not self._over.wait(1 / PER_SECOND):
                name = f"rolling-{len(self.ids)}"
                body = json.dumps(request(name, id_card(len(self.ids)))).encode()
                channel.basic_publish(REQUESTS, "test", body, pika.BasicProperties(delivery_mode=2))
                self.ids.append(name)


def work_on(stack: Stack, requests: int) -> None:
    """Wait until so many more are finished."""
    goal = stack.count() + requests
    until(lambda: stack.count() >= goal)


def test_two_workers_are_replaced_twice_and_nothing_is_lost_or_paid_twice(stack: Stack) -> None:
    stack.provider.play(latency=0.05)
    load = Load(stack.amqp_url)
    workers = [stack.start_worker(), stack.start_worker()]
    with load.running():
        for _ in range(2):
            for number in range(2):
                work_on(stack, 100)
                # As a Deployment does it with maxUnavailable 0: the new one first.
                newcomer = stack.start_worker()
                assert workers[number].stop() == 0
                workers[number] = newcomer
    until(lambda: stack.count() == len(load.ids), 60)
    until(lambda: stack.depth("collector") >= len(load.ids), 60)
    for worker in workers:
        assert worker.stop() == 0

    charges, events = stack.provider.charges(), stack.events()
    assert charges["charges"] == charges["calls"] == stack.count("calls") == len(load.ids)
    assert {row["outcome"] for row in stack.results().values()} == {"match"}
    # Finished work is not even delivered again: one event each.
    assert sorted(event["requestId"] for event in events) == sorted(load.ids)
    assert stack.depth(REQUESTS) == stack.depth("verification.dead") == 0
