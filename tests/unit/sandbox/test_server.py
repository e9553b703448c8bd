"""The server: its life, its routes, and clients that misbehave."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.sandbox.caller import FAR_TOO_LONG, Caller
from worker.sandbox.magic import BY_NAME
from worker.sandbox.server import Sandbox
from worker.sandbox.settings import SandboxSettings

MATCH = BY_NAME["match"].id_card


def test_a_sandbox_has_an_address_and_says_that_it_is_well(caller: Caller) -> None:
    port = caller.sandbox.port
    assert caller.sandbox.url == f"http://127.0.0.1:{port}/v1/personal"
    answer = caller.request("GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/v1/personal", (405, "NOT_IMPLEMENTED")),
        ("PUT", "/charges", (405, "NOT_IMPLEMENTED")),
        ("POST", "/elsewhere", (404, "NOT_FOUND")),
    ],
)
def test_other_routes_are_errors_in_the_providers_form(
    caller: Caller, method: str, path: str, error: tuple[int, str]
) -> None:
    assert caller.request(method, path).error == error
    assert caller.sandbox.charges().calls == 0


def test_an_answer_to_head_has_no_body(caller: Caller) -> None:
    response = caller.exchange(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert response.endswith(b"\r\n\r\n")


def test_a_connection_is_kept_for_further_calls_in_order(caller: Caller) -> None:
    names = ("match", "slow", "mismatch", "html")
    calls = b"".join(caller.raw_call(BY_NAME[name].id_card) for name in names)
    last = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    response = caller.exchange(calls + last)
    assert response.count(b"HTTP/1.1 200 OK") == 5
    marks = ["认证通过".encode(), "认证不通过".encode(), b"<html>", b'{"status":"ok"}']
    places = [response.index(mark) for mark in marks]
    assert places == sorted(places)


def test_latency_is_waited_for_after_the_charge_is_counted() -> None:
    with Sandbox(SandboxSettings(latency=60.0)) as sandbox:
        caller = Caller(sandbox)
        with caller.connect() as client:
            client.sendall(caller.raw_call(MATCH))
            assert sandbox.wait_for_calls(1)
            assert sandbox.charges().charges == 1
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)


def test_a_short_latency_ends_in_an_answer() -> None:
    with Sandbox(SandboxSettings(latency=0.01)) as sandbox:
        assert Caller(sandbox).call(MATCH).status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"400 Bad Request"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (b"GET /" + b"a" * 20_000, b"431 Request Header Fields Too Large"),
        (
            b"POST /v1/personal HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
            + b"x" * 3_000_000,
            b"413 Request Entity Too Large",
        ),
    ],
)
def test_a_malformed_request_is_answered_and_the_connection_closed(
    caller: Caller, data: bytes, status: bytes
) -> None:
    assert caller.exchange(data).startswith(b"HTTP/1.1 " + status)
    assert caller.call(MATCH).status == 200


def test_a_client_that_leaves_in_the_middle_harms_nobody(caller: Caller) -> None:
    request = caller.raw_call(MATCH)
    for part in (b"", request[:10], request[:-1]):
        with caller.connect() as client:
            client.sendall(part)
    with caller.connect() as client:  # and one that leaves a huge answer unread
        client.sendall(caller.raw_call(BY_NAME["huge"].id_card))
        assert caller.sandbox.wait_for_calls(1)
    assert caller.call(MATCH).status == 200


def test_a_large_body_is_asked_for_when_the_client_waits(caller: Caller) -> None:
    with caller.connect() as client:
        client.sendall(
            b"POST /reset HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_many_clients_are_served_at_once(caller: Caller) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: caller.call(MATCH).status, range(64)))
    assert answers == [200] * 64
    counts = caller.sandbox.charges()
    assert (counts.calls, counts.charges, counts.max_charges_per_subject) == (64, 64, 64)


def test_a_sandbox_can_be_stopped_and_started_with_its_counts() -> None:
    sandbox = Sandbox()
    with sandbox:
        Caller(sandbox).call(MATCH)
        with pytest.raises(RuntimeError, match="already started"):
            sandbox.start()
    with pytest.raises(ConnectionRefusedError):
        Caller(sandbox).call(MATCH)
    sandbox.stop()
    with sandbox:
        Caller(sandbox).call(MATCH)
    assert sandbox.charges().calls == 2


def test_stopping_drops_open_connections() -> None:
    sandbox = Sandbox().start()
    caller = Caller(sandbox)
    with caller.connect() as client:
        client.sendall(caller.raw_call(BY_NAME["hang_before_charge"].id_card))
        assert sandbox.wait_for_calls(1)
        sandbox.stop()
        assert client.recv(1) == b""


def test_a_port_in_use_is_an_error_of_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Sandbox(SandboxSettings(port=port)).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_cleanly(number: signal.Signals) -> None:
    code = (
        "from worker.sandbox.server import serve_forever\n"
        "from worker.sandbox.settings import SandboxSettings\n"
        "raise SystemExit(serve_forever(SandboxSettings()))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    with process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(number)
        assert process.wait(FAR_TOO_LONG) == 0
        assert process.stderr.read() == ""
    assert line.startswith("sandbox: listening on http://127.0.0.1:")
    assert line.endswith("/v1/personal\n")
