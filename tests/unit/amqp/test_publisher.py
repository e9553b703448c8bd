"""Whatever the broker does, each group is done once, and only when the broker has all of it.

The publisher and the ack book are the real ones; pika, its channels and the loop are fakes
that do what RabbitMQ and pika were seen to do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pika import exceptions, frame, spec

from tests.fakes.loop import FakeLoop
from worker.amqp.delivery_tags import AckBook
from worker.amqp.publisher import BackgroundPublisher, Group
from worker.core.delivery import Delivery, Publication, Settlement


class FakeChannel:
    """A channel in confirm mode; the test is the broker."""

    def __init__(self, pika: FakePika) -> None:
        self.pika = pika
        self.is_open = True
        self.sent = 0
        self.open_numbers: dict[int, tuple[str, bytes, Any]] = {}

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.on_close = callback

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self.on_return = callback

    def confirm_delivery(
        self, answered: Callable[..., None], callback: Callable[..., None]
    ) -> None:
        self.answered = answered
        callback(None)

    def basic_publish(
        self, _exchange: str, routing_key: str, body: bytes, properties: Any, _mandatory: bool
    ) -> None:
        """Count, as the broker does."""
        assert self.is_open
        assert self.pika.is_open
        self.sent += 1
        self.open_numbers[self.sent] = (routing_key, body, properties)

    def close(self) -> None:
        """End, as pika does when the broker has answered."""
        on_their_way = [one for _, _, one in self.open_numbers.values() if one is not None]
        assert not on_their_way  # what was returned is not waited for
        self.end(exceptions.ChannelClosedByClient(0, "done"))

    def end(self, reason: Exception) -> None:
        if self.is_open:
            self.is_open = False
            self.on_close(self, reason)


class FakePika:
    """A connection whose channels open when the test lets them."""

    blocked: str | None = None

    def __init__(self) -> None:
        self.is_open = True
        self.opening: list[tuple[FakeChannel, Callable[[Any], None]]] = []
        self.channels: list[FakeChannel] = []

    def channel(self, on_open_callback: Callable[[Any], None]) -> FakeChannel:
        assert self.is_open
        channel = FakeChannel(self)
        self.opening.append((channel, on_open_callback))
        self.channels.append(channel)
        return channel

    def open_channels(self) -> None:
        opening, self.opening = self.opening, []
        for channel, opened in opening:
            if channel.is_open:
                opened(channel)

    def end(self) -> None:
        self.is_open = False
        for channel in self.channels:
            channel.end(exceptions.StreamLostError("cut"))

    def corked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def add_on_connection_unblocked_callback(self, _callback: object) -> None:
        """Never call it."""


@settings(max_examples=60, stateful_step_count=40, deadline=None)
class TheBrokerMayDoAnything(RuleBasedStateMachine):
    """Messages come and are settled; confirms, nacks, returns and losses come as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeLoop()
        self.publisher = BackgroundPublisher("amqp://localhost", self.loop, None, self.done)
        self.pika = FakePika()
        self.publisher.connected(self.pika)
        self.book = AckBook(1)
        self.delivered = 0
        self.unsettled: list[int] = []
        self.wanted: dict[int, set[str]] = {}
        self.safe: set[str] = set()
        self.acknowledged: set[int] = set()
        self.done_groups: list[int] = []

    def done(self, groups: list[Group]) -> None:
        for group in groups:
            assert group.settlement is not None
            tag = group.settlement.delivery.tag
            assert tag not in self.done_groups, "done twice"
            assert self.wanted[tag] <= self.safe, "done before the broker has it"
            self.done_groups.append(tag)
            self.book.finish(tag)

    @rule()
    def deliver(self) -> None:
        self.delivered += 1
        self.book.delivered(self.delivered)
        self.unsettled.append(self.delivered)

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data(), publications=st.integers(1, 3))
    def settle(self, data: st.DataObject, publications: int) -> None:
        tag = data.draw(st.sampled_from(self.unsettled))
        self.unsettled.remove(tag)
        names = [f"{tag}-{number}" for number in range(publications)]
        self.wanted[tag] = set(names)
        made = tuple(Publication("", "queue", b"", message_id=name) for name in names)
        settlement = Settlement(Delivery(1, tag, b""), made)
        self.publisher.add(Group(len(made), settlement), made)
        self.publisher.publish_pending()

    def channels_with_work(self) -> list[FakeChannel]:
        return [one for one in self.pika.channels if one.is_open and one.open_numbers]

    @precondition(lambda self: self.channels_with_work())
    @rule(data=st.data(), multiple=st.booleans(), good=st.booleans())
    def answer(self, data: st.DataObject, multiple: bool, good: bool) -> None:
        channel = data.draw(st.sampled_from(self.channels_with_work()))
        number = data.draw(st.sampled_from(sorted(channel.open_numbers)))
        self.answer_on(channel, number, multiple=multiple, good=good)

    def answer_on(self, channel: FakeChannel, number: int, *, multiple: bool, good: bool) -> None:
        """Confirm or refuse, one or all up to it."""
        covered = [
            one for one in channel.open_numbers if one == number or (multiple and one < number)
        ]
        for one in covered:
            _, _, properties = channel.open_numbers.pop(one)
            if good and properties is not None:
                self.safe.add(properties.message_id)
        answer: Any = (spec.Basic.Ack if good else spec.Basic.Nack)(number, multiple)
        channel.answered(frame.Method(1, answer))

    @precondition(lambda self: self.channels_with_work())
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Return one; its confirm comes later and means nothing."""
        channel = data.draw(st.sampled_from(self.channels_with_work()))
        number = data.draw(st.sampled_from(sorted(channel.open_numbers)))
        routing_key, body, properties = channel.open_numbers[number]
        if properties is not None:
            channel.open_numbers[number] = (routing_key, body, None)
            returned = spec.Basic.Return(312, "NO_ROUTE", "", routing_key)
            channel.on_return(channel, returned, properties, body)

    @rule()
    def let_channels_open(self) -> None:
        self.pika.open_channels()

    @rule()
    def let_time_pass(self) -> None:
        self.loop.run_timers()

    @precondition(lambda self: any(one.is_open for one in self.pika.channels))
    @rule(data=st.data())
    def close_a_channel(self, data: st.DataObject) -> None:
        """Have the broker close a channel with all that waits on it."""
        channel = data.draw(st.sampled_from([one for one in self.pika.channels if one.is_open]))
        channel.open_numbers.clear()
        channel.end(exceptions.ChannelClosedByBroker(404, "NOT_FOUND"))

    @rule()
    def lose_the_connection(self) -> None:
        self.pika.end()
        self.publisher.disconnected()
        self.pika = FakePika()
        self.publisher.connected(self.pika)

    @rule()
    def acknowledge(self) -> None:
        for ack in self.book.take():
            assert ack.tag not in self.acknowledged
            covered = {ack.tag}
            if ack.multiple:
                covered = set(range(1, ack.tag + 1)) - self.acknowledged
            for tag in covered:
                assert self.wanted[tag] <= self.safe, "acknowledged before its confirms"
            self.acknowledged |= covered

    @invariant()
    def counts_what_waits(self) -> None:
        assert self.publisher.unconfirmed == len(self.wanted) - len(self.done_groups)

    def teardown(self) -> None:
        """Once the broker behaves, everything is published, confirmed and acknowledged."""
        for _ in range(3):
            self.loop.run_timers()
            self.pika.open_channels()
            for channel in self.channels_with_work():
                self.answer_on(channel, channel.sent, multiple=True, good=True)
        self.acknowledge()
        assert len([one for one in self.pika.channels if one.is_open]) == 1
        assert self.publisher.unconfirmed == 0
        assert self.acknowledged == set(self.wanted)


TestTheBrokerMayDoAnything = TheBrokerMayDoAnything.TestCase
