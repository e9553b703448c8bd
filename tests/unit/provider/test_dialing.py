"""The way through a proxy: bytes of a call leave only behind a tunnel, and the deadline holds."""

import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.unit.provider.scripted import (
    ASKED,
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
from worker.core.outcome import CallClass, Outcome
from worker.provider.client import PersonalAuthClient
from worker.provider.config import ProviderConfig
from worker.provider.dialing import Proxy

OPENED = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"


def through(
    proxy: ScriptedServer, url: str = "http://127.0.0.1:1/", login: str = "", **options: Any
) -> PersonalAuthClient:
    """Return a client that goes through a proxy; a login ends with its @."""
    return connect(url, proxy=f"http://{login}{urlsplit(proxy.url).netloc}", **options)


def test_calls_go_through_the_tunnel_over_tls_and_keep_it(certificate: Certificate) -> None:
    ca_file, tls = certificate()

    def open_tunnel(exchange: Exchange) -> bool:
        """Be the provider as well, behind the tunnel."""
        exchange.sock.sendall(OPENED)
        with tls.wrap_socket(exchange.sock, server_side=True) as wrapped:
            server.play(wrapped, exchange.connection)
        return False

    server = serve(open_tunnel, answer())
    client = through(server, "https://localhost:9/", "alice:p%40ss@", ca_file=ca_file)
    assert [client.verify(ASKED).verdict for _ in range(3)] == [Outcome.MATCH] * 3
    opening, *calls = server.exchanges
    assert opening.line == "CONNECT localhost:9 HTTP/1.1"
    login = f"Basic {b64encode(b'alice:p@ss').decode()}"
    assert opening.headers == {"host": "localhost:9", "proxy-authorization": login}
    assert (len(calls), server.connections) == (3, 1)
    assert all("authorization" in call.headers for call in calls)
    assert not any("proxy-authorization" in call.headers for call in calls)


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    proxy = serve(raw(b"HTTP/1.1 503 Unavailable\r\n\r\n"))
    through(proxy, "http://[::1]:8080/").verify(ASKED)
    assert proxy.exchanges[0].line == "CONNECT [::1]:8080 HTTP/1.1"


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (raw(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), Unconnected.PROXY_LOGIN),
        (raw(b"HTTP/1.0 403 Filtered\r\n\r\n<html>"), Unconnected.PROXY_REFUSED),
        (raw(b"HTTP/1.1 500 Unable to connect\r\n\r\n"), Unconnected.PROXY_REFUSED),
        (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), Unconnected.PROXY_REFUSED),
        (raw(b"HTTP/1.1 200 OK\r\n"), Unconnected.PROXY_REFUSED),
        (raw(OPENED + b"HTTP/1.1 200 OK\r\n"), Unconnected.PROXY_REFUSED),
        (raw(b"x" * 20_000), Unconnected.PROXY_REFUSED),
        (raw(b""), Unconnected.PROXY_REFUSED),
    ],
)
def test_without_a_tunnel_nothing_is_sent_and_it_is_said_why(act: Act, why: Unconnected) -> None:
    assert_not_sent(through(serve(act)).verify(ASKED), why)


@pytest.mark.parametrize("act", [silence, drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")])
def test_a_proxy_that_never_comes_to_an_end_is_ended_by_the_calls_own_deadline(act: Act) -> None:
    client = through(serve(act), connect_timeout=3600.0, call_deadline=0.5)
    assert_not_sent(client.verify(ASKED), Unconnected.PROXY)


def test_what_still_connects_when_the_client_is_closed_sends_nothing() -> None:
    """Nobody would end it: it could wait for its answer for ever."""
    is_asked, is_closed = threading.Event(), threading.Event()

    def open_late(exchange: Exchange) -> bool:
        is_asked.set()
        assert is_closed.wait(60)
        exchange.sock.sendall(OPENED)
        exchange.over.wait()
        return False

    client = through(serve(open_late))
    with ThreadPoolExecutor(1) as threads:
        report = threads.submit(client.verify, ASKED)
        assert is_asked.wait(60)
        client.close()
        is_closed.set()
        assert report.result(60).call_class is CallClass.NOT_SENT


def test_a_proxy_that_is_not_there_is_to_blame() -> None:
    client = connect("http://127.0.0.1:1/", proxy="http://127.0.0.1:1")
    assert_not_sent(client.verify(ASKED), Unconnected.PROXY)


def test_no_repr_shows_a_proxys_password() -> None:
    url = "http://alice:hidden-secret@proxy:3128"
    shown = repr(Proxy.of(url)) + repr(ProviderConfig("http://h/", "a", "s", proxy=url))
    assert "hidden" not in shown
    assert b64encode(b"alice:hidden-secret").decode() not in shown
