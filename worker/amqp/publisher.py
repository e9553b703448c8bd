"""Publications on their way until the broker has confirmed them. The amqp thread only.

Nothing is given up: what is refused, returned or unanswered is published again until it is
confirmed. That makes duplicates after a loss, and an event's id is how they are recognised.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from structlog import get_logger

from worker.amqp.broker_errors import advice_on, mapped
from worker.amqp.publish_channel import Group, Outgoing, PublishChannel
from worker.amqp.reconnecting import Backoff, ReconnectingConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.amqp.topology import Topology
    from worker.core.delivery import Publication

PUBLICATION_REFUSED = "amqp.publication_refused"
PUBLISH_CHANNEL_CLOSED = "amqp.publish_channel_closed"

_log = get_logger(__name__)


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
    def blocked(self) -> bool:
        """Whether the broker takes no publications now. Any thread."""
        pika = self._pika
        return pika is not None and bool(pika.blocked)

    def add(self, group: Group, publications: Sequence[Publication]) -> None:
        """Take a group; `publish_pending` sends it."""
        self.unconfirmed += 1
        self._pending.extend([Outgoing(group, publication) for publication in publications])

    def publish_pending(self) -> None:
        """Send all that waits, unless the broker is away or holds us back."""
        channel, pending = self._channel, self._pending
        if channel is None or not pending or self._pika.blocked:
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
        for entry in entries:
            entry.group.setbacks += 1
            _log.warning(
                PUBLICATION_REFUSED,
                reason=reason,
                exchange=entry.publication.exchange,
                routing_key=entry.publication.routing_key,
                setbacks=entry.group.setbacks,
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
                error = mapped(reason)
                _log.warning(
                    PUBLISH_CHANNEL_CLOSED,
                    kind=type(error).__name__,
                    problem=str(error),
                    **advice_on(error, declares=self._topology is not None),
                )
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
