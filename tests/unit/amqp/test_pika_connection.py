"""A connection that is gone as soon as it is there fails that try, and not the loop."""

from __future__ import annotations

import socket
from typing import Any

from pika.adapters.select_connection import IOLoop

from worker.amqp.pika_connection import IoServices


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
