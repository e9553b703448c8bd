"""A connection that is gone as soon as it is there fails that try, and not the loop."""

import socket
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowAborted

from worker.amqp.pika_connection import IoServices, PikaConnection


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
