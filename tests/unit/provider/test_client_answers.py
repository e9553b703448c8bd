"""Answers through real sockets: what they are taken for, and what was sent to get them."""

import gzip
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import orjson
import pytest

from tests.unit.provider.scripted import (
    ASKED,
    MATCH,
    OK,
    PORTRAIT,
    Certificate,
    Exchange,
    answer,
    await_news,
    connect,
    raw,
    serve,
)
from worker.core.outcome import CallClass, Charged, Outcome
from worker.provider.config import ProviderConfig


def test_a_match_is_reported_with_all_that_was_said() -> None:
    report = connect(serve().url).verify(ASKED)
    assert (report.call_class, report.verdict) == (CallClass.ANSWERED, Outcome.MATCH)
    assert (report.charged, report.http_status, report.sends) == (Charged.YES, 200, 1)
    assert report.provider_request_id == "rq-1"
    assert report.seconds > 0


def test_the_request_holds_the_signature_the_persons_fields_and_nothing_else() -> None:
    server = serve()
    connect(server.url, session_token="token-value", nonce=lambda: "n-1").verify(ASKED)
    (exchange,) = server.exchanges
    assert exchange.line == "POST /v1/personal HTTP/1.1"
    person = '{"name":"张三","idCard":"11010519491231002X"}'
    sent = f'{{"personalSpec":{{"checkType":2,"personalUser":{person}}}}}'
    assert exchange.body.decode() == sent
    assert set(exchange.headers) == {
        "accept-encoding", "authorization", "content-length", "content-type", "host",
        "user-agent", "x-jdcloud-date", "x-jdcloud-nonce", "x-jdcloud-security-token",
    }  # fmt: skip
    assert exchange.headers["x-jdcloud-nonce"] == "n-1"
    assert exchange.headers["host"] in server.url


def test_a_body_larger_than_one_piece_arrives_whole() -> None:
    server = serve()
    assert connect(server.url).verify(PORTRAIT).verdict is Outcome.MATCH
    assert len(server.exchanges[0].body) > 200_000


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_connection_is_kept_and_every_send_has_its_own_nonce(
    over_tls: bool, certificate: Certificate
) -> None:
    ca_file, tls = certificate() if over_tls else ("", None)
    server = serve(tls=tls)
    client = connect(server.url, ca_file=ca_file)
    assert [client.verify(ASKED).verdict for _ in range(3)] == [Outcome.MATCH] * 3
    assert server.connections == 1
    assert len({exchange.headers["x-jdcloud-nonce"] for exchange in server.exchanges}) == 3


def test_a_call_on_an_open_connection_gives_up_the_interpreters_lock_no_more_than_it_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a time limit each of these would ask the kernel first, and so would setting one."""
    client = connect(serve().url)
    assert client.verify(ASKED).verdict is Outcome.MATCH
    caller, used = threading.current_thread(), []

    def watch(name: str) -> None:
        plain = getattr(socket.socket, name)

        def watched(sock: socket.socket, *arguments: object) -> object:
            if threading.current_thread() is caller:
                used.append((name, sock.gettimeout()))
            return plain(sock, *arguments)

        monkeypatch.setattr(socket.socket, name, watched, raising=False)

    for each in ("sendall", "recv_into", "settimeout"):
        watch(each)
    assert client.verify(ASKED).verdict is Outcome.MATCH
    assert used == [("sendall", None), ("recv_into", None)]


def test_a_connection_that_idled_too_long_is_not_trusted() -> None:
    server = serve()
    client = connect(server.url, keep_idle=0.0)
    assert [client.verify(ASKED).verdict for _ in range(2)] == [Outcome.MATCH] * 2
    assert server.connections == 2


@pytest.mark.parametrize("close", [True, False], ids=["announced", "unannounced"])
def test_an_idle_connection_that_the_server_closed_is_opened_anew_without_a_doubt(
    close: bool,
) -> None:
    def answer_and_leave(exchange: Exchange) -> bool:
        answer(close=close)(exchange)
        return False

    server = serve(answer_and_leave, answer())
    client = connect(server.url)
    client.verify(ASKED)
    if not close:
        await_news(client)
    report = client.verify(ASKED)
    assert (report.verdict, report.sends, server.connections) == (Outcome.MATCH, 1, 2)


def test_threads_share_the_client_and_each_gets_its_own_answer() -> None:
    def echo_nonce(exchange: Exchange) -> bool:
        body = orjson.dumps(
            {"requestId": exchange.headers["x-jdcloud-nonce"], "result": {"success": True}}
        )
        return answer(body)(exchange)

    mine, numbers = threading.local(), count()

    def nonce() -> str:
        mine.nonce = f"n-{next(numbers)}"
        return str(mine.nonce)

    server = serve(echo_nonce)
    client = connect(server.url, pool_size=8, nonce=nonce)
    everybody = threading.Barrier(8)

    def one_by_one(_: int) -> bool:
        everybody.wait()
        return all(client.verify(ASKED).provider_request_id == mine.nonce for _ in range(20))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(one_by_one, range(8)))
    assert server.connections <= 8


LENGTH, PACKED = b"Content-Length: %d\r\n" % len(MATCH), gzip.compress(MATCH)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
ODD = b"HTTP/1.1 200 OK\nno colon\nContent-Type: text/html\n"
FRAMINGS = {
    "chunked": (CHUNKED % (len(MATCH), MATCH), True),
    "ended by the connection": (OK + b"\r\n" + MATCH, False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\n" + MATCH, False),
    "the same length twice": (OK + LENGTH + LENGTH + b"\r\n" + MATCH, True),
    "bare line feeds and another type": (ODD + LENGTH.replace(b"\r", b"") + b"\n" + MATCH, True),
    "compressed unasked": (
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(PACKED), PACKED),
        True,
    ),
}


@pytest.mark.parametrize(("data", "keeps"), FRAMINGS.values(), ids=FRAMINGS)
def test_a_paid_answer_is_read_in_every_framing(data: bytes, keeps: bool) -> None:
    server = serve(raw(data, close=not keeps))
    client = connect(server.url)
    assert [client.verify(ASKED).verdict for _ in range(2)] == [Outcome.MATCH] * 2
    assert server.connections == (1 if keeps else 2)


def test_a_redirect_is_not_followed() -> None:
    elsewhere = serve()
    server = serve(answer(b"", status=302, Location=elsewhere.url))
    report = connect(server.url).verify(ASKED)
    assert (report.call_class, report.http_status) == (CallClass.FOREIGN, 302)
    assert elsewhere.connections == 0


def test_neither_proxies_nor_bundles_of_the_environment_are_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    assert connect(serve().url).verify(ASKED).verdict is Outcome.MATCH


def test_nothing_of_a_call_is_logged_and_no_secret_is_in_a_repr(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    body = orjson.dumps(
        {"result": {"success": True, "message": "张三 11010519491231002X", "detail": "张三"}}
    )
    client = connect(serve(answer(body)).url, session_token="token-value")
    report = client.verify(ASKED)
    config = ProviderConfig("http://x.test/", "AK-TEST", "SK-TEST", "token-value")
    everything = f"{report!r} {client!r} {vars(client)!r} {config!r} {caplog.text}"
    for secret in ("张三", "11010519491231002X", "SK-TEST", "token-value", "AK-TEST"):
        assert secret not in everything
