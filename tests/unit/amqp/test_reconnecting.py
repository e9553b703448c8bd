"""A broker that answers heartbeats alone is cut, a try may fail, and waits between tries grow."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowAborted
from pika.exceptions import ChannelClosedByBroker

from tests.fakes.loop import FakeLoop
from worker.amqp.consumer import Consumer, Intake
from worker.amqp.pika_connection import IoServices, PikaConnection
from worker.amqp.reconnecting import ANSWER_SECONDS, Backoff, ReconnectingConnection
from worker.core.request import Lane


def nothing(*_: object) -> None:
    """Do nothing."""


def connected() -> tuple[ReconnectingConnection, FakeLoop, list[None]]:
    """Return a connection that is open, its loop, and where each cut of it is put down."""
    loop, cuts = FakeLoop(), []  # type: ignore[var-annotated]
    owner: Any = SimpleNamespace(connected=nothing, disconnected=nothing)
    connection = ReconnectingConnection("amqp://localhost", "consume", loop, owner)
    # It says nothing to a close, as a frozen broker does.
    pika = SimpleNamespace(
        is_closing=False, is_closed=False, cut=lambda: cuts.append(None), close=nothing
    )
    connection._pika = pika
    connection._opened(pika)
    return connection, loop, cuts


def test_an_answer_that_does_not_come_cuts_the_connection() -> None:
    connection, loop, cuts = connected()
    connection.expect_answer()
    ((delay, run_out),) = loop.timers
    assert delay == ANSWER_SECONDS
    run_out()
    assert len(cuts) == 1


def test_an_answer_in_time_and_a_close_end_the_wait() -> None:
    connection, loop, cuts = connected()
    connection.expect_answer()
    connection.answered()
    assert loop.timers == []
    connection.expect_answer()
    connection.expect_answer()  # the next question begins the time anew
    assert len(loop.timers) == 1
    connection.close(lambda: None)
    assert loop.timers == []
    assert cuts == []


@pytest.mark.parametrize(
    ("chance", "waits"), [(1.0, [1, 2, 4, 8, 10, 10]), (0.25, [0.25, 0.5, 1, 2, 2.5, 2.5])]
)
def test_waits_double_up_to_ten_seconds_until_it_works(chance: float, waits: list[float]) -> None:
    loop = FakeLoop()
    backoff = Backoff(loop, jitter=lambda: chance)
    assert [backoff.later(nothing) for _ in waits] == waits
    backoff.reset()
    assert backoff.later(nothing) == waits[0]
    assert [delay for delay, _ in loop.timers] == [*waits, waits[0]]


def test_what_is_tried_or_stopped_is_not_waited_for() -> None:
    loop = FakeLoop()
    done: list[bool] = []
    backoff = Backoff(loop)
    backoff.later(lambda: done.append(backoff.is_waiting))
    assert backoff.is_waiting
    ((_, due),) = loop.timers
    due()
    assert done == [False]
    backoff.later(nothing)
    backoff.stop()
    assert not backoff.is_waiting


def test_a_channel_that_is_to_be_tried_again_is_not_when_a_new_connection_has_one() -> None:
    loop, channel = FakeLoop(), SimpleNamespace(add_on_close_callback=lambda _: None)
    pika = SimpleNamespace(is_open=True, channel=lambda on_open_callback: channel)
    returned: list[int] = []
    consumer = Consumer("amqp://localhost", loop, Lane.LIVE, Intake(1, None))
    sink: Any = SimpleNamespace(returned=lambda epoch, _lane: returned.append(epoch))
    consumer.sink = sink
    consumer.connected(pika)
    consumer._closed(channel, ChannelClosedByBroker(404, "no queue"))
    assert consumer._backoff.is_waiting
    consumer.disconnected()
    assert returned == [1]  # once only, though the connection went as well
    consumer.connected(pika)
    assert not consumer._backoff.is_waiting


def told(*, cancelled: bool) -> list[Any]:
    """Return what is told of a transport over a socket without a peer."""
    loop, heard = IOLoop(), []  # type: ignore[var-annotated]
    services = IoServices(loop)
    attempt = services.create_streaming_connection(lambda: None, socket.socket(), heard.append)
    assert heard == []  # pika takes no answer before it has the attempt
    if cancelled:
        attempt.cancel()
    loop.call_later(0, loop.stop)
    loop.start()
    loop.close()
    return heard


def test_a_socket_that_has_lost_its_peer_is_a_failure_of_the_try() -> None:
    (failure,) = told(cancelled=False)
    assert isinstance(failure, ValueError)


def test_a_cancelled_try_tells_nothing() -> None:
    assert told(cancelled=True) == []


def test_a_connection_that_is_closed_in_its_handshake_is_an_end_and_no_defect() -> None:
    """Where this happens pika gives the class of its error (`AMQPConnectionWorkflow`)."""
    connection = PikaConnection.__new__(PikaConnection)
    ended: list[object] = []
    connection._handle_connection_workflow_failure = ended.append
    connection._on_connection_workflow_done(AMQPConnectionWorkflowAborted)
    assert ended == [None]
