"""Whoever waits leaves the floor: a call that hangs anywhere holds up no other one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import TYPE_CHECKING

import pytest

from tests.unit.provider.scripted import MATCH, answer, drip, silence
from worker.core.outcome import CallClass, Outcome
from worker.provider.floor import Floor

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
    client = connect(server.url, call_deadline=0.6, pool_size=2)
    with ThreadPoolExecutor(1) as other:
        hanging = other.submit(client.verify, asked)
        assert server.arrived.acquire(timeout=5)
        assert client.verify(asked).verdict is Outcome.MATCH
        assert not hanging.done()
        assert hanging.result().call_class is CallClass.IN_DOUBT


def test_when_a_handshake_hangs_then_other_calls_go_on(
    serve: ServerMaker, connect: ClientMaker, certificate: Certificate, asked: VerificationRequest
) -> None:
    ca_file, tls = certificate("IP:127.0.0.1")
    shaken = threading.Event()
    server = serve(tls=tls)
    client = connect(server.url, ca_file=ca_file, call_deadline=5.0, pool_size=2)
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
    server = serve(answer(b"{}", 429, Retry_After="2"), answer())
    client = connect(server.url, free_tries=2, pool_size=2)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(client.verify, asked)
        assert server.arrived.acquire(timeout=5)
        assert client.verify(asked).verdict is Outcome.MATCH
        assert not waiting.done()
        assert waiting.result().sends == 2


def test_the_floor_has_room_for_one() -> None:
    floor, order = Floor(), []

    def speak() -> None:
        with floor:
            order.append("second")

    with floor:
        second = threading.Thread(target=speak)
        second.start()
        order.append("first")
        with floor.left:
            second.join()
        order.append("first again")
    assert order == ["first", "second", "first again"]


def test_time_away_is_counted_without_the_wait_for_the_floor() -> None:
    floor, held = Floor(), threading.Event()

    def hold() -> None:
        with floor:
            held.set()
            sleep(0.3)

    with floor:
        other = threading.Thread(target=hold)
        with floor.left:
            other.start()
            held.wait()
        other.join()
        assert 0 < floor.away < 0.25
        with floor.left:
            sleep(0.05)
        assert floor.away >= 0.05
    with floor:
        assert floor.away == 0.0
