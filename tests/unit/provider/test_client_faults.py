"""Faults through real sockets: not sent is proven, everything else is in doubt."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from tests.unit.provider.scripted import (
    ASKED,
    MATCH,
    OK,
    WHOLE,
    Act,
    Certificate,
    Exchange,
    ScriptedServer,
    answer,
    assert_not_sent,
    connect,
    drip,
    raw,
    serve,
    silence,
)
from worker.core.connecting import Unconnected
from worker.core.outcome import CallClass, CallReport, Charged, Outcome
from worker.provider import deadline
from worker.provider.config import ProviderConfig
from worker.provider.deadline import ArmedCall, DeadlinePassed, Reaper
from worker.provider.transport import Transport

HEAD = WHOLE.removesuffix(MATCH)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def assert_in_doubt(report: CallReport) -> None:
    assert (report.call_class, report.charged) == (CallClass.IN_DOUBT, Charged.UNKNOWN)
    assert (report.sends, report.verdict) == (1, None)


def test_a_refused_connection_is_not_sent() -> None:
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        assert_not_sent(connect(url).verify(ASKED), Unconnected.REFUSED)


def test_an_unknown_name_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert_not_sent(connect("http://nowhere.invalid/").verify(ASKED), Unconnected.DNS)


def test_a_connection_that_does_not_come_about_is_not_sent() -> None:
    # A full backlog: the kernel answers no further SYN.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):
            client = connect(f"http://127.0.0.1:{address[1]}/", connect_timeout=0.1)
            assert_not_sent(client.verify(ASKED), Unconnected.TIMEOUT)


@pytest.mark.parametrize(
    ("name", "days", "trusted", "why"),
    [
        ("localhost", 1, False, Unconnected.TLS_UNTRUSTED),
        ("elsewhere.test", 1, True, Unconnected.TLS_HOST),
        ("localhost", -1, True, Unconnected.TLS_EXPIRED),
    ],
)
def test_a_certificate_that_cannot_be_verified_is_not_sent(
    name: str, days: int, trusted: bool, why: Unconnected, certificate: Certificate
) -> None:
    ca_file, tls = certificate(name, days)
    server = serve(tls=tls)
    report = connect(server.url, ca_file=ca_file if trusted else "").verify(ASKED)
    assert_not_sent(report, why)
    assert server.exchanges == []


def test_a_handshake_that_hangs_is_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        report = connect(url, connect_timeout=0.1).verify(ASKED)
        assert_not_sent(report, Unconnected.TIMEOUT)


def test_a_silent_provider_is_in_doubt_after_the_read_timeout() -> None:
    client = connect(serve(silence).url, read_timeout=0.05, call_deadline=10.0**6)
    assert_in_doubt(client.verify(ASKED))


def test_each_byte_begins_a_silence_and_the_deadline_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = ArmedCall(110.0, silence=4.0)
        assert call.ends_at == 110.0  # nothing is sent yet
        monkeypatch.setattr(deadline, "monotonic", lambda: 101.0)
        call.send_on(ours)
        assert call.ends_at == 105.0
        monkeypatch.setattr(deadline, "monotonic", lambda: 104.0)
        call.await_byte()
        call.end_if_late(105.5)
        assert not call.ended
        monkeypatch.setattr(deadline, "monotonic", lambda: 107.5)
        call.await_byte()
        call.end_if_late(110.0)
        assert call.ended


def test_the_status_of_an_answer_that_breaks_off_is_reported() -> None:
    assert connect(serve(raw(HEAD + b"{")).url).verify(ASKED).http_status == 200


def stand_until_a_request_comes(patch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    """Let no call be late before its request is at the server, however long that takes."""
    earlier = monotonic() - 60  # or the socket's own time limit would end the handshake
    patch.setattr(deadline, "monotonic", lambda: monotonic() if server.exchanges else earlier)


DAWDLERS = {
    "silence": silence,
    "dripping headers": drip(OK, b"a: b\r\n"),
    "dripping body": drip(HEAD, b" "),
    # Without a length, the end that the reaper makes must not be taken for the answer's own.
    "a whole answer and then a drip": drip(OK + b"\r\n" + MATCH, b" "),
    "one without a length and no end": raw(b"HTTP/2 200 OK\r\n\r\n" + MATCH, close=False),
    "less than its chunk": raw(OK + CHUNKED + b"3e7\r\n" + MATCH, close=False),
}


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("act", DAWDLERS.values(), ids=DAWDLERS)
def test_a_call_ends_by_its_deadline_however_the_provider_dawdles(
    act: Act, over_tls: bool, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file, tls = certificate() if over_tls else ("", None)
    server = serve(act, tls=tls)
    stand_until_a_request_comes(monkeypatch, server)
    client = connect(server.url, ca_file=ca_file, call_deadline=0.25)
    assert_in_doubt(client.verify(ASKED))  # nothing else ends it


def test_a_hanging_call_holds_up_no_other_and_ends_when_the_client_is_closed() -> None:
    server = serve(silence, answer())
    client = connect(server.url, pool_size=2)
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(client.verify, ASKED)
        assert server.arrived.acquire(timeout=60)
        assert client.verify(ASKED).verdict is Outcome.MATCH
        assert not hanging.done()
        client.close()
        assert_in_doubt(hanging.result(60))
    with pytest.raises(RuntimeError, match="reaper has stopped"):
        client.verify(ASKED)


def test_a_socket_that_was_let_go_is_not_shut_down() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = ArmedCall(deadline=10.0**9)
        call.send_on(ours)
        call.let_go()
        call.end_if_late(10.0**9 + 1)
        assert not call.ended
        ours.sendall(b"still open")


# What comes of an answer before the reaper begins to end its call, and what comes meanwhile.
ENDINGS = {
    "broken head": (b"", b"rubbish\r\n"),
    "broken body": (OK + CHUNKED, b"zz\r\n"),
    "larger than we read": (OK + b"\r\n", b"x" * 300_000),
    "read to its end": (HEAD.replace(b"\n", b"\nConnection: close\r\n", 1), MATCH),
    "more than one": (HEAD, MATCH + b"x"),
}


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_no_socket_is_closed_while_the_reaper_has_it(
    ending: tuple[bytes, bytes],
    over_tls: bool,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its number may be another call's by the time that the kernel shuts it down."""
    first, then = ending
    is_ending = threading.Event()
    was_open: list[bool] = []
    shutdown = socket.socket.shutdown

    def slow(sock: socket.socket, how: int) -> None:
        if threading.current_thread().name == "provider-reaper":
            is_ending.set()
            time.sleep(0.1)  # so long the kernel takes
            was_open.append(sock.fileno() != -1)
        shutdown(sock, how)

    def act(exchange: Exchange) -> bool:
        exchange.sock.sendall(first)
        assert is_ending.wait(60)
        exchange.sock.sendall(then)
        exchange.over.wait()
        return False

    monkeypatch.setattr(socket.socket, "shutdown", slow)
    ca_file, tls = certificate() if over_tls else ("", None)
    server = serve(act, tls=tls)
    stand_until_a_request_comes(monkeypatch, server)
    client = connect(server.url, ca_file=ca_file, call_deadline=0.25)
    assert_in_doubt(client.verify(ASKED))
    assert was_open == [True]


def test_the_next_try_is_not_ended_for_the_silence_before_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = ArmedCall(deadline=10.0**9, silence=10.0)
        call.await_byte()
        now = call.ends_at + 1
        # The reaper has seen that it is late; then the next try has its socket first.
        with call._lock:
            reaper = threading.Thread(target=call.end_if_late, args=(now,))
            reaper.start()
            time.sleep(0.1)
            call.ends_at, call._sock = now + 9, ours
        reaper.join()
        assert not call.ended


def test_no_byte_leaves_after_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = ArmedCall(deadline=monotonic())
        with pytest.raises(DeadlinePassed):
            call.send_on(ours)
        assert not call.sent


def test_the_reaper_looks_again_when_a_call_may_be_late() -> None:
    reaper = Reaper(25.0)
    assert reaper.run_once(100.0) == 25.0
    reaper.arm(ArmedCall(110.0))
    assert reaper.run_once(100.0) == 10.0
    # It was late with its connection, and may be about to send.
    assert reaper.run_once(110.5) == Reaper.PERIOD
    reaper.stop()


def test_the_reaper_leaves_a_connection_alone_once_its_answer_is_read() -> None:
    server = serve()
    config = ProviderConfig(server.url, "AK", "SK", connect_timeout=60.0, keep_idle=3_600.0)
    reaper = Reaper(60.0)
    transport = Transport(config, lambda request: request, reaper)
    for _ in range(2):
        reaper.arm(ArmedCall(deadline=10.0**9))
        assert transport.post(b"{}").body == MATCH
        reaper.run_once(float("inf"))  # the call is armed still, its connection in the pool
    reaper.disarm()
    reaper.stop()
    transport.close()
    assert server.connections == 1


def test_a_call_that_was_ended_leaves_nothing_behind_that_hurts_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(drip(HEAD, b" "), answer())
    client = connect(server.url, call_deadline=0.25)
    stand_until_a_request_comes(monkeypatch, server)
    assert_in_doubt(client.verify(ASKED))
    monkeypatch.setattr(deadline, "monotonic", lambda: 0.0)  # it stands again
    assert client.verify(ASKED).verdict is Outcome.MATCH
    assert server.connections == 2
