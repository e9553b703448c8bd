"""Publications on their way until the broker has confirmed them. The amqp thread only.

Nothing is given up: what is refused, returned or unanswered is published again until it is
confirmed. That makes duplicates after a loss, and an event's id is how they are recognised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from structlog import get_logger

from worker.amqp.broker_errors import described, mapped
from worker.amqp.delivery_tags import Confirms
from worker.amqp.properties import written_properties
from worker.amqp.reconnecting import Backoff, ReconnectingConnection
from worker.amqp.topology import Topology, declare_on
from worker.core.delivery import Publication, Settlement

PUBLICATION_REFUSED = "amqp.publication_refused"
PUBLISH_CHANNEL_CLOSED = "amqp.publish_channel_closed"

_log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Group:
    """Publications that are done when the last of them is confirmed."""

    remaining: int
    settlement: Settlement | None = None
    on_confirmed: Callable[[], None] | None = None
    setbacks: int = 0
    """How often one of them was refused."""


Outgoing = tuple[Group, Publication]
"""One publication to send, and the group that waits for it."""


class BackgroundPublisher:
    """A connection to publish, and one channel on it that is replaced when it has failed.

    `on_done` gets the groups of which everything is confirmed, once for each frame of confirms.
    """

    def __init__(
        self,
        url: str,
        ioloop: Any,
        topology: Topology | None,
        on_done: Callable[[list[Group]], None],
    ) -> None:
        self.connection = ReconnectingConnection(url, "publish", ioloop, self)
        self.unconfirmed = 0
        """Groups that wait."""
        self._topology = topology
        self._on_done = on_done
        self._pika: Any = None
        self._channel: PublishChannel | None = None
        self._opening: PublishChannel | None = None
        self._pending: deque[Outgoing] = deque()
        self._setback: list[Outgoing] = []
        self._backoff = Backoff(ioloop)

    # What the session asks for

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no publications now; None: it does, or is away. Any thread."""
        pika = self._pika
        return None if pika is None else pika.blocked

    def add(self, group: Group, publications: Sequence[Publication]) -> None:
        """Take a group; `publish_pending` sends it."""
        self.unconfirmed += 1
        self._pending.extend([(group, publication) for publication in publications])

    def publish_pending(self) -> None:
        """Send all that waits, unless the broker is away or holds us back."""
        channel, pending = self._channel, self._pending
        if channel is None or not pending or self._pika.blocked is not None:
            return
        with self._pika.corked():
            while pending:
                channel.publish(pending.popleft())

    def close(self, on_closed: Callable[[], None]) -> None:
        """End in an orderly way; what is unconfirmed then is the broker's to redeliver."""
        self._backoff.stop()
        self._pika = self._channel = self._opening = None
        self.connection.close(on_closed)

    # What the connection reports

    def connected(self, pika: Any) -> None:
        """Open the first channel."""
        self._pika = pika
        pika.add_on_connection_unblocked_callback(lambda *_: self.publish_pending())
        self._open_channel()

    def disconnected(self) -> None:
        """Wait for the next connection; the channels have handed back what they had."""
        self._pika = self._channel = self._opening = None

    # What the channels report

    def ready(self, channel: PublishChannel) -> None:
        """Publish over this channel from now on."""
        if channel is self._opening:
            self.connection.answered()
            self._channel, self._opening = channel, None
            self.publish_pending()

    def confirmed(self, entries: list[Outgoing]) -> None:
        """Count the confirms."""
        done: list[Group] = []
        for group, _ in entries:
            group.remaining -= 1
            if not group.remaining:
                done.append(group)
                if group.setbacks:
                    self._backoff.reset()
        if done:
            self.unconfirmed -= len(done)
            self._on_done(done)

    def refused(self, entries: list[Outgoing], reason: str) -> None:
        """Publish these again after a while, over a fresh channel.

        A channel whose first publish met a dead leader nacks for ever on 3.10 and 3.11, and a
        fresh channel declares what may be missing. The others go on over the old one until then.
        """
        for group, publication in entries:
            group.setbacks += 1
            _log.warning(
                PUBLICATION_REFUSED,
                reason=reason,
                exchange=publication.exchange,
                routing_key=publication.routing_key,
                setbacks=group.setbacks,
            )
        self._setback.extend(entries)
        self._renew_later()

    def lost(self, channel: PublishChannel, entries: list[Outgoing], reason: BaseException) -> None:
        """Publish these again over the next channel; a broken connection brings one by itself."""
        self._pending.extendleft(reversed(entries))
        is_alive = self._pika is not None and self._pika.is_open
        if channel is self._channel or channel is self._opening:
            self._channel = self._opening = None
            self.connection.answered()
            if is_alive:
                told = described(mapped(reason), declares=self._topology is not None)
                _log.warning(PUBLISH_CHANNEL_CLOSED, **told)
                self._renew_later()
        elif is_alive:
            self.publish_pending()

    def _renew_later(self) -> None:
        if not self._backoff.is_waiting:
            self._backoff.later(self._renew)

    def _renew(self) -> None:
        self._pending.extendleft(reversed(self._setback))
        self._setback.clear()
        if self._pika is None or not self._pika.is_open or self._opening is not None:
            return
        old, self._channel = self._channel, None
        self._open_channel()
        if old is not None:
            old.retire()

    def _open_channel(self) -> None:
        self.connection.expect_answer()
        self._opening = PublishChannel(self._pika, self._topology, self)


class PublishChannel:
    """One channel in confirm mode; the topology is declared over it first, if there is one."""

    def __init__(self, pika: Any, topology: Topology | None, owner: BackgroundPublisher) -> None:
        self._topology = topology
        self._owner = owner
        self._retired = False
        self._confirms: Confirms[Outgoing] = Confirms()
        self._channel = pika.channel(on_open_callback=self._opened)
        self._channel.add_on_close_callback(self._closed)

    def publish(self, entry: Outgoing) -> None:
        """Send one publication without waiting.

        What pika cannot encode raises: the contract bounds every value, so that is our own error.
        """
        _, publication = entry
        # Mandatory, so that a missing queue is noticed. Result events have the alternate exchange
        # behind them; they come back only where even that is gone.
        self._channel.basic_publish(
            publication.exchange,
            publication.routing_key,
            publication.body,
            written_properties(publication),
            True,
        )
        self._confirms.sent(entry)

    def retire(self) -> None:
        """Take no more, and close when the last confirm is there."""
        self._retired = True
        if not self._confirms and self._channel.is_open:
            self._channel.close()

    def _opened(self, channel: Any) -> None:
        channel.add_on_return_callback(self._returned)
        if self._topology is not None:
            declare_on(channel, self._topology)
        channel.confirm_delivery(self._answered, callback=lambda _frame: self._owner.ready(self))

    def _answered(self, frame: Any) -> None:
        method = frame.method
        entries = self._confirms.take(method.delivery_tag, multiple=method.multiple)
        if method.NAME == "Basic.Ack":
            self._owner.confirmed(entries)
        elif entries:
            self._owner.refused(entries, "the broker could not store it")
        if self._retired:
            self.retire()

    def _returned(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Find what came back: a return has no sequence number, and its confirm comes after it.

        Two that are equal in all this are interchangeable.
        """
        came = (method.exchange, method.routing_key, properties.message_id, body)

        def is_it(entry: Outgoing) -> bool:
            _, sent = entry
            return (sent.exchange, sent.routing_key, sent.message_id, sent.body) == came

        entry = self._confirms.withdraw(is_it)
        if entry is not None:
            self._owner.refused([entry], "no queue is bound for it")

    def _closed(self, _channel: Any, reason: BaseException) -> None:
        self._owner.lost(self, self._confirms.take_all(), reason)
