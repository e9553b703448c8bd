"""The way out of a delivery: publish, have it confirmed, acknowledge it, tell the sink.

The amqp thread only.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.amqp.consumer import Consumer
from worker.amqp.publisher import BackgroundPublisher, Group
from worker.contract.internal import is_retry
from worker.core.delivery import Publication, Settlement
from worker.core.request import Lane
from worker.ports import DeliverySink


class Settler:
    """Carries settlements from the publisher's confirms to the consumers' acknowledgements."""

    def __init__(
        self,
        ioloop: Any,
        publisher: BackgroundPublisher,
        consumers: Mapping[Lane, Consumer],
    ) -> None:
        self.sink: DeliverySink
        """Known when the session starts; nothing settles before."""
        self._ioloop = ioloop
        self._publisher = publisher
        self._consumers = consumers
        self._settled: list[Settlement] = []
        self._flushing = False
        self._waiting_for_idle: list[threading.Event] = []

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Publish what these cause; what causes nothing is finished.

        A message that is queued again anyhow is not put into a retry queue as well: with each
        connection that is lost there would be more copies of it.
        """
        publisher = self._publisher
        for settlement in settlements:
            publications, delivery = settlement.publications, settlement.delivery
            if delivery.epoch <= self._consumers[delivery.lane].returned_epoch:
                publications = tuple(each for each in publications if not is_retry(each))
            if publications:
                publisher.add(Group(len(publications), settlement), publications)
            else:
                self._finish_one(settlement)
        publisher.publish_pending()

    def publish(
        self, publications: Sequence[Publication], on_confirmed: Callable[[], None]
    ) -> None:
        """Publish what settles no delivery."""
        if not publications:
            on_confirmed()
            return
        self._publisher.add(Group(len(publications), on_confirmed=on_confirmed), publications)
        self._publisher.publish_pending()

    def finish(self, groups: Sequence[Group]) -> None:
        """Finish what the broker has confirmed."""
        for group in groups:
            if group.settlement is not None:
                self._finish_one(group.settlement)
            if group.on_confirmed is not None:
                group.on_confirmed()
        self._flush_soon()

    def set_when_idle(self, idle: threading.Event) -> None:
        """Set this when nothing waits for the broker and all acknowledgements are sent."""
        self._waiting_for_idle.append(idle)
        self._flush_soon()

    def flush(self) -> None:
        """Acknowledge what is finished, and tell the sink."""
        self._flushing = False
        for consumer in self._consumers.values():
            consumer.flush()
        if self._settled:
            settled, self._settled = self._settled, []
            self.sink.settled(settled)
        if self._waiting_for_idle and not self._publisher.unconfirmed:
            for idle in self._waiting_for_idle:
                idle.set()
            self._waiting_for_idle.clear()

    def _finish_one(self, settlement: Settlement) -> None:
        delivery = settlement.delivery
        self._consumers[delivery.lane].finish(delivery)
        self._settled.append(settlement)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Flush once at the end of this pass: one acknowledgement speaks for many deliveries."""
        if not self._flushing:
            self._flushing = True
            self._ioloop.call_later(0, self.flush)
