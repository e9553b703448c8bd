"""A call that hangs anywhere holds up no other one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.unit.provider.scripted import MATCH, answer, drip, silence
from worker.core.outcome import CallClass, Outcome

if TYPE_CHECKING:
    from tests.unit.provider.scripted import Act, Certificate, ClientMaker, ServerMaker
    from worker.core.request import VerificationRequest

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MATCH)
HANGS = [silence, drip(b"HTTP", b"/"), drip(HEAD, b" "), drip(HEAD + MATCH[:-1], b"")]


@pytest.mark.parametrize("hang", HANGS, ids=["silence", "status line", "body", "last byte"])
def test_when_an_answer_dawdles_then_other_calls_go_on(
    serve: ServerMaker, connect: ClientMaker, asked: VerificationRequest, hang: Act
) -> None:
    server = serve(hang, answer())
    client = connect(server.url, pool_size=2)
    with ThreadPoolExecutor(1) as other:
        hanging = other.submit(client.verify, asked)
        assert server.arrived.acquire(timeout=60)
        assert client.verify(asked).verdict is Outcome.MATCH
        assert not hanging.done()
        client.close()
        assert hanging.result().call_class is CallClass.IN_DOUBT


def test_when_a_handshake_hangs_then_other_calls_go_on(
    serve: ServerMaker, connect: ClientMaker, certificate: Certificate, asked: VerificationRequest
) -> None:
    ca_file, tls = certificate("IP:127.0.0.1")
    shaken = threading.Event()
    server = serve(tls=tls)
    client = connect(
        server.url, ca_file=ca_file, call_deadline=60.0, connect_timeout=60.0, pool_size=2
    )
    wrap, first = tls.wrap_socket, threading.Lock()

    def hang(*arguments: object, **options: object) -> object:
        if first.acquire(blocking=False):
            shaken.wait()
        return wrap(*arguments, **options)  # type: ignore[arg-type]

    tls.wrap_socket = hang  # type: ignore[assignment,method-assign]
    with ThreadPoolExecutor(1) as other:
        hanging = other.submit(client.verify, asked)
        while not first.locked():
            assert not hanging.done()
        assert client.verify(asked).verdict is Outcome.MATCH
        assert not hanging.done()
        shaken.set()
        assert hanging.result().verdict is Outcome.MATCH


def test_when_a_call_waits_for_its_repeat_then_other_calls_go_on(
    serve: ServerMaker, connect: ClientMaker, asked: VerificationRequest
) -> None:
    enough = threading.Event()

    class Waiting(threading.Event):
        """The client waits until the test has seen enough, and then makes its next try."""

        def wait(self, timeout: float | None = None) -> bool:
            assert enough.wait(60)
            return False

    server = serve(answer(b"{}", 429, Retry_After="2"), answer())
    client = connect(server.url, free_tries=2, pool_size=2, stopping=Waiting())
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(client.verify, asked)
        assert server.arrived.acquire(timeout=60)
        assert client.verify(asked).verdict is Outcome.MATCH
        assert not waiting.done()
        enough.set()
        assert waiting.result().sends == 2
