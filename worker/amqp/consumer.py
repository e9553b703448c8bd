"""From the queue to the sink, and the acknowledgements back. The amqp thread only."""

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Any

from structlog import get_logger

from worker.amqp.broker_errors import AmqpError, BrokerUnavailable, described, mapped
from worker.amqp.delivery_tags import AckBook
from worker.amqp.properties import read_delivery
from worker.amqp.reconnecting import Backoff, ReconnectingConnection
from worker.amqp.topology import Topology, declare_on
from worker.contract.names import REQUEST_QUEUES
from worker.core.delivery import Delivery
from worker.core.request import Lane
from worker.ports import DeliverySink

CONSUMING = "amqp.consuming"
CONSUMING_STOPPED = "amqp.consuming_stopped"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Intake:
    """How a lane is consumed; without a topology it must be there already."""

    prefetch: int
    topology: Topology | None


class Consumer:
    """A connection and one consuming channel on it; each new channel is a new epoch.

    Each lane has one, so that a fault of one lane does not stop the other.
    """

    def __init__(self, url: str, ioloop: Any, lane: Lane, intake: Intake) -> None:
        role = "consume" if lane is Lane.LIVE else lane.value
        self.connection = ReconnectingConnection(url, role, ioloop, self)
        self.sink: DeliverySink
        """Known when the session starts, before anything is delivered."""
        self.consuming = False
        self.wanted = True
        """Whether we want deliveries: a pause says no."""
        self._allowed = True
        self.returned_epoch = 0
        """What was delivered up to this epoch and not acknowledged is queued again."""
        self.problem: str | None = None
        """Why it does not consume, since it last did."""
        self._lane = lane
        self._queue = REQUEST_QUEUES[lane]
        self._full_prefetch = self._prefetch = intake.prefetch
        self._topology = intake.topology
        self._pika: Any = None
        self._channel: Any = None
        self._usable = False
        """The channel is open, the topology is there and the prefetch is set."""
        self._tag: str | None = None
        self._book = AckBook(0)
        self._backoff = Backoff(ioloop)

    # What the session asks for

    def pause(self) -> None:
        """Stop taking; what arrives until the broker knows is handed back by pika."""
        self.wanted = False
        self._cancel()

    def resume(self, prefetch: int | None = None) -> None:
        """Take again, in the same epoch if the channel is still there.

        `prefetch` holds until the next time; a consumer keeps the one that it began with.
        """
        self.wanted = True
        before, self._prefetch = self._prefetch, prefetch or self._full_prefetch
        if self._usable and self._prefetch != before:
            self._cancel()
            self._channel.basic_qos(prefetch_count=self._prefetch, callback=self._prepared)
        else:
            self._consume_if_wanted()

    def allow(self, allowed: bool) -> None:
        """Let nothing be taken, or what is wanted: a lane's calls of the day may be used up."""
        self._allowed = allowed
        if allowed:
            self._consume_if_wanted()
        else:
            self._cancel()

    def _cancel(self) -> None:
        self.consuming = False
        if self._usable and self._tag is not None:
            self.connection.answered()
            # Without a callback pika forgets the consumer at once: the broker has not answered yet.
            self._channel.basic_cancel(self._tag, callback=lambda _: None)
            self._tag = None

    def finish(self, delivery: Delivery) -> None:
        """Acknowledge this delivery with the next `flush`; of an older epoch it is too late."""
        if delivery.epoch == self._book.epoch:
            self._book.finish(delivery.tag)

    def flush(self) -> None:
        """Send the acknowledgements."""
        if self._usable:
            for tag, multiple in self._book.take():
                self._channel.basic_ack(tag, multiple)

    def close(self, on_closed: Callable[[], None]) -> None:
        """End in an orderly way, acknowledgements first."""
        self.flush()
        self.wanted = self.consuming = self._usable = False
        self._backoff.stop()
        self._pika = self._channel = None
        self.connection.close(on_closed)

    # What the connection and the channel report

    def connected(self, pika: Any) -> None:
        """Open a channel."""
        self._pika = pika
        self._open_channel()

    def disconnected(self) -> None:
        """Wait for the next connection."""
        self._pika = None
        self._channel_lost()

    def _open_channel(self) -> None:
        self._backoff.stop()
        if self._pika is None or not self._pika.is_open:
            return
        self.connection.expect_answer()
        self._book = AckBook(self._book.epoch + 1)
        self._channel = self._pika.channel(on_open_callback=self._opened)
        self._channel.add_on_close_callback(self._closed)

    def _opened(self, channel: Any) -> None:
        channel.add_on_cancel_callback(self._cancelled)
        if self._topology is not None:
            declare_on(channel, self._topology)
        channel.basic_qos(prefetch_count=self._prefetch, callback=self._prepared)

    def _prepared(self, _frame: Any) -> None:
        if self._channel is None:  # we are closing
            return
        self._usable = True
        self.connection.answered()
        self._consume_if_wanted()

    def _consume_if_wanted(self) -> None:
        if not (self._usable and self.wanted and self._allowed and self._tag is None):
            return
        self.connection.expect_answer()
        self._tag = self._channel.basic_consume(
            self._queue, self._on_message, callback=self._confirmed
        )

    def _confirmed(self, frame: Any) -> None:
        if frame.method.consumer_tag != self._tag:
            return
        self.connection.answered()
        self.consuming = True
        self.problem = None
        self._backoff.reset()
        _log.info(CONSUMING, queue=self._queue, epoch=self._book.epoch)

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if channel is not self._channel:
            return
        book = self._book
        book.delivered(method.delivery_tag)
        delivery = read_delivery(book.epoch, method, properties, body, time(), self._lane)
        self.sink.deliver(delivery)

    def _cancelled(self, frame: Any) -> None:
        """Begin again with a new channel: the broker ended our consumer and left this one open.

        The queue may be gone, and with it the messages that we hold: they count as ours.
        """
        if frame.method.consumer_tag != self._tag:
            return
        channel = self._channel
        self._forget_channel()
        if channel.is_open:
            channel.close()
        why = "queue deleted, or (from 4.3 on) a message held for longer than consumer_timeout?"
        self._begin_again(BrokerUnavailable(f"the broker cancelled the consumer: {why}"))

    def _closed(self, channel: Any, reason: BaseException) -> None:
        if channel is not self._channel:
            return
        self._channel_lost()
        if self._pika is not None and self._pika.is_open:
            self._begin_again(mapped(reason))

    def _channel_lost(self) -> None:
        """Report that the broker has queued again what this channel delivered."""
        if self._channel is not None:
            self.returned_epoch = self._book.epoch
            self.sink.returned(self.returned_epoch, self._lane)
        self._forget_channel()

    def _forget_channel(self) -> None:
        self.connection.answered()
        self.consuming = self._usable = False
        self._channel = self._tag = None

    def _begin_again(self, error: AmqpError) -> None:
        wait = self._backoff.later(self._open_channel)
        known, self.problem = self.problem, str(error)
        if self._lane is not Lane.LIVE and self.problem == known:
            return  # the worker is whole without it: said once, and by `problem`
        _log.warning(
            CONSUMING_STOPPED,
            queue=self._queue,
            retry_in=round(wait, 2),
            **described(error, declares=self._topology is not None),
        )
