"""What `submit` and other commands do: say what the broker said, and wait for it within a bound."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from local_broker import Broker
from local_stack import Servers
from tests.integration.amqp.conftest import MakeSession
from tests.integration.amqp.harness import (
    PATIENCE,
    TOPOLOGY,
    Answering,
    Bare,
    Log,
    answered,
    memory_alarm,
)
from worker.amqp import declare, request_client
from worker.amqp.blocking import BlockingPublisher, opened
from worker.amqp.broker_errors import BrokerUnavailable, NotProvisioned, Unroutable
from worker.amqp.dead_letter_queue import DeadLetterQueue
from worker.amqp.pika_connection import BLOCKED, BlockingPikaConnection
from worker.amqp.request_client import WINDOW, publish_request, publish_requests
from worker.contract.names import DEAD, REQUESTS, RESULTS
from worker.core.delivery import Publication

REQUEST = b'{"a":1}'


@pytest.fixture
def own_broker(servers: Servers) -> Broker:
    """Give a broker that may be short of memory for a while."""
    if not servers.private:
        pytest.skip("the broker is not ours to mistreat")
    return servers.broker  # type: ignore[return-value]


@pytest.fixture
def in_background() -> Iterator[Callable[..., Any]]:
    """Call something that blocks, while the test is the broker's other side."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


class Many:
    """A batch whose requests come with turns that need none; results are kept."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.results: list[bytes] = []
        self._number = number

    def publish(self, url: str, timeout: float) -> None:
        """Publish all of it."""
        publish_requests(url, self.requests(), self.results.append, lambda: self.awaited, timeout)

    def requests(self) -> Iterator[bytes | None]:
        """Yield a request and a turn without one, as often as it was said."""
        while self.left:
            self.left -= 1
            yield REQUEST
            yield None

    @property
    def awaited(self) -> int:
        """How many are missing."""
        return self._number - self.left - len(self.results)


def test_a_request_goes_out_and_its_result_comes_back(
    amqp_url: str, make_session: MakeSession
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    session = make_session()
    sink = Answering(session, lambda one: answered(one, RESULTS, one.reply_to or "nobody"))
    session.start(sink)
    assert publish_request(amqp_url, REQUEST, PATIENCE, "m-1") == b'{"outcome":"match"}'
    (delivery,) = sink.deliveries
    assert (delivery.body, delivery.message_id) == (REQUEST, "m-1")
    assert publish_request(amqp_url, REQUEST, 0, "m-2") is None
    assert sink.wait_for_deliveries(2)[1].reply_to is None
    many = Many(3 * WINDOW)
    many.publish(amqp_url, PATIENCE)
    assert (len(many.results), many.awaited) == (3 * WINDOW, 0)


def test_of_an_id_that_is_longer_than_amqp_carries_the_beginning_goes_along(
    amqp_url: str, bare: Bare
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    publish_request(amqp_url, REQUEST, 0, "\N{CJK UNIFIED IDEOGRAPH-5F20}" * 128)
    ((message_id, _),) = bare.take_all(REQUESTS, 1)
    assert message_id == "\N{CJK UNIFIED IDEOGRAPH-5F20}" * 85


def test_a_result_that_does_not_come_is_waited_for_so_long(amqp_url: str, bare: Bare) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    many = Many(2)
    many.publish(amqp_url, 6.0)  # a confirm must come in that time, too
    assert many.awaited == bare.count(REQUESTS) == 2


@pytest.mark.parametrize("timeout", [0, PATIENCE])
def test_lines_that_need_no_request_may_take_longer_than_a_confirm_may(
    amqp_url: str, bare: Bare, monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    """A large file that is submitted again begins with all the lines that have their result."""
    declare.apply(amqp_url, TOPOLOGY)
    read = 0

    def requests() -> Iterator[bytes | None]:
        nonlocal read
        for read in range(1, 3 * WINDOW):  # noqa: B007  # the clock goes by it
            yield None
        yield REQUEST

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + read * PATIENCE)
    monkeypatch.setattr(request_client, "time", clock)
    publish_requests(amqp_url, requests(), lambda _: None, lambda: 0, timeout)
    assert bare.count(REQUESTS) == 1


def test_a_request_that_no_queue_takes_is_reported(amqp_url: str, bare: Bare) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.channel.queue_delete(REQUESTS)
    with pytest.raises(Unroutable):
        publish_request(amqp_url, REQUEST, 0, "m-1")


@pytest.mark.parametrize("timeout", [0, 30])
def test_a_broker_without_the_topology_is_reported(amqp_url: str, timeout: float) -> None:
    with pytest.raises(NotProvisioned):
        publish_request(amqp_url, REQUEST, timeout, "m-1")


@pytest.mark.parametrize("order", ["basic_consume", "basic_get"])
def test_an_interrupt_amid_an_order_to_the_broker_ends_the_command_and_loses_nothing(
    amqp_url: str, bare: Bare, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """What pika finds half done when it closes must not hide that somebody pressed Ctrl-C."""
    declare.apply(amqp_url, TOPOLOGY)
    bare.publish(["l-1", "l-2"], routing_key=DEAD)
    whole = getattr(BlockingChannel, order)

    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    def half_done(*arguments: object, **options: object) -> object:
        monkeypatch.setattr(BlockingChannel, "_flush_output", interrupted)
        return whole(*arguments, **options)

    def look() -> None:
        with DeadLetterQueue.opened(amqp_url) as queue, queue.hold() as held:
            list(held.letters())

    monkeypatch.setattr(BlockingChannel, order, half_done)
    with pytest.raises(KeyboardInterrupt):
        look()
    assert [name for name, _ in bare.take_all(DEAD, 2)] == ["l-1", "l-2"]


def test_a_connection_to_replay_over_lives_while_letters_are_only_looked_at(
    amqp_url: str, bare: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of portraits take longer than the broker waits for a heartbeat."""
    declare.apply(amqp_url, TOPOLOGY)
    bare.publish(["l-1", "l-2"], routing_key=DEAD)
    served: list[object] = []
    serve = BlockingPikaConnection.process_data_events

    def noted(connection: BlockingPikaConnection, seconds: float) -> None:
        served.append(connection)
        serve(connection, seconds)

    with DeadLetterQueue.opened(amqp_url) as queue, queue.hold() as held:
        monkeypatch.setattr(BlockingPikaConnection, "process_data_events", noted)
        assert len(list(held.letters())) == 2
        assert len(set(served)) == 2


# A command's bound; a stalled machine still learns within it that the broker is blocked.
SOON = 8.0


def interrupted_while_it_waits(amqp_url: str) -> None:
    with opened(amqp_url, "x") as tool:
        tool.channel().basic_publish("", DEAD, b"{}")
        while not tool.blocked:
            tool.process_data_events(0.1)
        raise KeyboardInterrupt


def test_a_broker_short_of_memory_is_named_and_waited_for_within_a_bound(
    amqp_url: str, bare: Bare, log: Log, own_broker: Broker, in_background: Callable[..., Any]
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    with memory_alarm(own_broker):
        many = Many(3 * WINDOW)
        with pytest.raises(BrokerUnavailable, match="memory or disk alarm"):
            many.publish(amqp_url, SOON)
        assert many.left > 0  # held back, not piled up
        with (
            pytest.raises(BrokerUnavailable, match="memory or disk alarm"),
            opened(amqp_url, "outbox", blocked_seconds=SOON) as connection,
        ):
            BlockingPublisher(connection).publish((Publication("", DEAD, b"{}"),), lambda: None)
        with pytest.raises(KeyboardInterrupt):
            interrupted_while_it_waits(amqp_url)  # nothing would read an orderly close
        log.wait_for_line(BLOCKED, 3)
        submitted = in_background(publish_request, amqp_url, REQUEST, 0, "last")
        log.wait_for_line(BLOCKED, 4)
        assert not submitted.done()
    assert submitted.result(PATIENCE) is None
    assert "last" in {one for one, _ in bare.take_all(REQUESTS)}
