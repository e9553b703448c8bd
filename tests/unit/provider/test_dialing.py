"""The way through a proxy: bytes of a call leave only behind a tunnel, and the deadline holds."""

import socket
import threading
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from tests.unit.provider.scripted import ASKED, OPEN, Certificate, connect, serve
from worker.core.connecting import Unconnected
from worker.core.outcome import CallClass, CallReport, Outcome
from worker.provider.config import ProviderConfig
from worker.provider.dialing import Proxy

Answer = Callable[[socket.socket, threading.Event], None]

OPENED = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"


def says(words: bytes) -> Answer:
    return lambda client, _over: client.sendall(words)


def drips(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    with suppress(OSError):
        while not over.wait(0.02):
            client.sendall(b"x")


def is_silent(_client: socket.socket, over: threading.Event) -> None:
    over.wait()


class ScriptedProxy:
    """A proxy that answers CONNECT as it is told, and passes on to where it was asked to."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = ExitStack()
        self.port = self._listener.getsockname()[1]
        self.heads: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self, login: str = "") -> str:
        """Return its address; a login ends with its @."""
        return f"http://{login}127.0.0.1:{self.port}"

    def close(self) -> None:
        """End every connection."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._sockets.close()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            self._sockets.callback(_end, client)
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.heads.append(head)
            host, _, port = head.split()[1].decode().rpartition(":")
            self._answer(client, self._over)
            if self._answer is OPENS:
                with socket.create_connection((host.strip("[]"), int(port))) as server:
                    self._sockets.callback(_end, server)
                    self._start(_pass_on, server, client)
                    _pass_on(client, server)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while piece := one.recv(65_536):
            other.sendall(piece)
    _end(other)


OPENS = says(OPENED)


def proxy(answer: Answer) -> ScriptedProxy:
    made = ScriptedProxy(answer)
    OPEN.callback(made.close)
    return made


def test_calls_go_through_the_tunnel_over_tls_and_keep_it(certificate: Certificate) -> None:
    ca_file, tls = certificate()
    server, through = serve(tls=tls), proxy(OPENS)
    client = connect(server.url, ca_file=ca_file, proxy=through.url("alice:p%40ss@"))
    assert [client.verify(ASKED).verdict for _ in range(3)] == [Outcome.MATCH] * 3
    (head,) = through.heads
    place = server.url.removeprefix("https://").partition("/")[0].encode()
    assert head.startswith(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (place, place))
    assert b"Proxy-Authorization: Basic " + b64encode(b"alice:p@ss") in head
    assert "authorization" in server.exchanges[0].headers
    assert "proxy-authorization" not in server.exchanges[0].headers


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    through = proxy(says(b"HTTP/1.1 503 Unavailable\r\n\r\n"))
    connect("http://[::1]:8080/", proxy=through.url()).verify(ASKED)
    assert through.heads[0].startswith(b"CONNECT [::1]:8080 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), Unconnected.PROXY_LOGIN),
        (says(b"HTTP/1.0 403 Filtered\r\n\r\n<html>"), Unconnected.PROXY_REFUSED),
        (says(b"HTTP/1.1 500 Unable to connect\r\n\r\n"), Unconnected.PROXY_REFUSED),
        (says(b"SSH-2.0-OpenSSH\r\n\r\n"), Unconnected.PROXY_REFUSED),
        (says(b"HTTP/1.1 200 OK\r\n"), Unconnected.PROXY_REFUSED),
        (says(OPENED + b"HTTP/1.1 200 OK\r\n"), Unconnected.PROXY_REFUSED),
        (says(b"x" * 20_000), Unconnected.PROXY_REFUSED),
        (says(b""), Unconnected.PROXY_REFUSED),
        (is_silent, Unconnected.PROXY),
        (drips, Unconnected.PROXY),
    ],
)
def test_without_a_tunnel_nothing_is_sent_and_it_is_said_why(
    answer: Answer, why: Unconnected
) -> None:
    # An hour to connect: the call's own deadline ends a proxy that never comes to an end.
    options = {"connect_timeout": 3600.0, "call_deadline": 0.5}
    client = connect("http://127.0.0.1:1/", proxy=proxy(answer).url(), **options)
    report = client.verify(ASKED)
    assert (report.call_class, report.not_sent_because) == (CallClass.NOT_SENT, why)


def test_what_still_connects_when_the_client_is_closed_sends_nothing() -> None:
    """Nobody would end it: it could wait for its answer for ever."""
    is_asked, is_closed = threading.Event(), threading.Event()

    def opens_late(client: socket.socket, over: threading.Event) -> None:
        is_asked.set()
        assert is_closed.wait(60)
        client.sendall(OPENED)
        over.wait()

    client = connect("http://127.0.0.1:1/", proxy=proxy(opens_late).url())
    reports: list[CallReport] = []
    thread = threading.Thread(target=lambda: reports.append(client.verify(ASKED)), daemon=True)
    thread.start()
    assert is_asked.wait(60)
    client.close()
    is_closed.set()
    thread.join(timeout=60)
    assert [report.call_class for report in reports] == [CallClass.NOT_SENT]


def test_a_proxy_that_is_not_there_is_to_blame() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = connect("http://127.0.0.1:1/", proxy=f"http://127.0.0.1:{port}").verify(ASKED)
    assert report.not_sent_because is Unconnected.PROXY


def test_no_repr_shows_a_proxys_password() -> None:
    url = "http://alice:hidden-secret@proxy:3128"
    shown = repr(Proxy.of(url)) + repr(ProviderConfig("http://h/", "a", "s", proxy=url))
    assert "hidden" not in shown
    assert b64encode(b"alice:hidden-secret").decode() not in shown
