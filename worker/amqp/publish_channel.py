"""One publish channel in confirm mode, and what is on its way through it. The amqp thread only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from worker.amqp.delivery_tags import Confirms
from worker.amqp.properties import written_properties
from worker.amqp.topology import declare_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.amqp.topology import Topology
    from worker.core.delivery import Publication, Settlement


@dataclass(slots=True, eq=False)
class Group:
    """Publications that are done when the last of them is confirmed."""

    remaining: int
    settlement: Settlement | None = None
    on_confirmed: Callable[[], None] | None = None
    setbacks: int = 0
    """How often one of them was refused."""


class Outgoing(NamedTuple):
    """One publication to send, and the group that waits for it."""

    group: Group
    publication: Publication


class PublishChannelOwner(Protocol):
    """Who hears what became of the publications."""

    def ready(self, channel: PublishChannel) -> None:
        """Begin to publish."""
        ...

    def confirmed(self, entries: list[Outgoing]) -> None:
        """Count these as safe."""
        ...

    def refused(self, entries: list[Outgoing], reason: str) -> None:
        """Publish these again later: the broker does not have them."""
        ...

    def lost(self, channel: PublishChannel, entries: list[Outgoing], reason: BaseException) -> None:
        """Publish these again: nobody knows whether the broker has them."""
        ...


class PublishChannel:
    """Opens a channel, declares the topology over it if there is one, and publishes."""

    def __init__(self, pika: Any, topology: Topology | None, owner: PublishChannelOwner) -> None:
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
        publication = entry.publication
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
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and not self._confirms and self._channel.is_open:
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
            self._close_if_done()

    def _returned(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Find what came back: a return has no sequence number, and its confirm comes after it.

        Two that are equal in all this are interchangeable.
        """
        entry = self._confirms.withdraw(
            lambda entry: (
                entry.publication.routing_key == method.routing_key
                and entry.publication.exchange == method.exchange
                and entry.publication.message_id == properties.message_id
                and entry.publication.body == body
            )
        )
        if entry is not None:
            self._owner.refused([entry], "no queue is bound for it")

    def _closed(self, _channel: Any, reason: BaseException) -> None:
        self._owner.lost(self, self._confirms.take_all(), reason)
