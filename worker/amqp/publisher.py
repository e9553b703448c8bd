"""Publications on their way until the broker has confirmed them. The amqp thread only.

Nothing is given up: what is refused, returned or unanswered is published again until it is
confirmed. That makes duplicates after a loss, and an event's id is how they are recognised.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from structlog import get_logger

from worker.amqp.backoff import Backoff
from worker.amqp.connection import Connection
from worker.amqp.errors import AmqpError, NotProvisioned, mapped
from worker.amqp.lane import Entry, Group, Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.amqp.topology import Topology
    from worker.core.delivery import Publication

PUBLICATION_REFUSED = "amqp.publication_refused"
PUBLISH_CHANNEL_CLOSED = "amqp.publish_channel_closed"
BLOCKED = "amqp.blocked"
UNBLOCKED = "amqp.unblocked"

_log = get_logger(__name__)


class Publisher:
    """A connection to publish, and one lane on it that is replaced when it has failed.

    `on_done` gets the groups of which everything is confirmed, once for each frame of confirms.
    """

    def __init__(
        self,
        url: str,
        ioloop: Any,
        topology: Topology | None,
        on_done: Callable[[list[Group]], None],
    ) -> None:
        self.connection = Connection(url, "publish", ioloop, self)
        self.blocked = False
        self.unconfirmed = 0
        """Groups that wait."""
        self._ioloop = ioloop
        self._topology = topology
        self._on_done = on_done
        self._wire: Any = None
        self._lane: Lane | None = None
        self._opening: Lane | None = None
        self._pending: deque[Entry] = deque()
        self._setback: list[Entry] = []
        self._backoff = Backoff()
        self._timer: Any = None

    # What the session asks for

    def add(self, group: Group, publications: Sequence[Publication]) -> None:
        """Take a group; `publish_pending` sends it."""
        self.unconfirmed += 1
        self._pending.extend([Entry(group, publication) for publication in publications])

    def publish_pending(self) -> None:
        """Send all that waits, unless the broker is away or holds us back."""
        lane, pending = self._lane, self._pending
        if lane is None or self.blocked or not pending:
            return
        with self._wire.corked():
            while pending:
                lane.publish(pending.popleft())

    def close(self, on_closed: Callable[[], None]) -> None:
        """End in an orderly way; what is unconfirmed then is the broker's to redeliver."""
        self._stop_timer()
        self._wire = self._lane = self._opening = None
        self.connection.close(on_closed)

    # What the connection reports

    def connected(self, wire: Any) -> None:
        """Open the first lane."""
        self._wire = wire
        wire.add_on_connection_blocked_callback(self._on_blocked)
        wire.add_on_connection_unblocked_callback(self._on_unblocked)
        self._open_lane()

    def disconnected(self) -> None:
        """Wait for the next connection; the lanes have handed back what they had."""
        self.blocked = False
        self._wire = self._lane = self._opening = None

    def _on_blocked(self, _wire: Any, frame: Any) -> None:
        self.blocked = True
        _log.warning(BLOCKED, reason=str(frame.method.reason))

    def _on_unblocked(self, _wire: Any, _frame: Any) -> None:
        self.blocked = False
        _log.info(UNBLOCKED)
        self.publish_pending()

    # What the lanes report

    def ready(self, lane: Lane) -> None:
        """Publish over this lane from now on."""
        if lane is self._opening:
            self.connection.answered()
            self._lane, self._opening = lane, None
            self.publish_pending()

    def confirmed(self, entries: list[Entry]) -> None:
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

    def refused(self, entries: list[Entry], reason: str) -> None:
        """Publish these again after a while, over a fresh lane.

        A channel whose first publish met a dead leader nacks for ever on 3.10 and 3.11, and a
        fresh lane declares what may be missing. The others go on over the old one until then.
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

    def lost(self, lane: Lane, entries: list[Entry], reason: BaseException) -> None:
        """Publish these again over the next lane; a broken connection brings one by itself."""
        self._pending.extendleft(reversed(entries))
        is_alive = self._wire is not None and self._wire.is_open
        if lane is self._lane or lane is self._opening:
            self._lane = self._opening = None
            self.connection.answered()
            if is_alive:
                self._log_closed(mapped(reason))
                self._renew_later()
        elif is_alive:
            self.publish_pending()

    def _log_closed(self, error: AmqpError) -> None:
        advice = {}
        if isinstance(error, NotProvisioned) and self._topology is None:
            advice = {"advice": "not provisioned: run verification-worker topology apply"}
        _log.warning(
            PUBLISH_CHANNEL_CLOSED, kind=type(error).__name__, problem=str(error), **advice
        )

    def _renew_later(self) -> None:
        if self._timer is None:
            self._timer = self._ioloop.call_later(self._backoff.next(), self._renew)

    def _renew(self) -> None:
        self._timer = None
        self._pending.extendleft(reversed(self._setback))
        self._setback.clear()
        if self._wire is None or not self._wire.is_open or self._opening is not None:
            return
        old, self._lane = self._lane, None
        self._open_lane()
        if old is not None:
            old.retire()

    def _open_lane(self) -> None:
        self.connection.expect_answer()
        self._opening = Lane(self._wire, self._topology, self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._ioloop.remove_timeout(self._timer)
            self._timer = None
