"""A new release comes: each worker is replaced under load, one after the other."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika

from tests.bench.soak_load import id_card
from tests.e2e.harness import REQUESTS, House, request, until

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


def work_on(house: House, requests: int) -> None:
    """Wait until so many more are finished."""
    goal = house.count() + requests
    until(lambda: house.count() >= goal)


def test_two_workers_are_replaced_twice_and_nothing_is_lost_or_paid_twice(house: House) -> None:
    house.provider.play(latency=0.05)
    load = Load(house.amqp_url)
    workers = [house.start_worker(), house.start_worker()]
    with load.running():
        for _ in range(2):
            for number in range(2):
                work_on(house, 100)
                # As a Deployment does it with maxUnavailable 0: the new one first.
                newcomer = house.start_worker()
                assert workers[number].stop() == 0
                workers[number] = newcomer
    until(lambda: house.count() == len(load.ids), 60)
    until(lambda: house.depth("collector") >= len(load.ids), 60)
    for worker in workers:
        assert worker.stop() == 0

    charges, events = house.provider.charges(), house.events()
    assert charges["charges"] == charges["calls"] == house.count("calls") == len(load.ids)
    assert {row["outcome"] for row in house.results().values()} == {"match"}
    # Finished work is not even delivered again: one event each.
    assert sorted(event["requestId"] for event in events) == sorted(load.ids)
    assert house.depth(REQUESTS) == house.depth("verification.dead") == 0
