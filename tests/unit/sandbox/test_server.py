"""The server: its life, its routes, and clients that misbehave."""

import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from tests.unit.conftest import Ended
from tests.unit.sandbox.caller import FAR_TOO_LONG, Caller, RunningSandbox
from worker.sandbox.application import MAX_BODY
from worker.sandbox.magic import BY_NAME
from worker.sandbox.settings import SandboxSettings

MATCH = BY_NAME["match"].id_card


def test_the_sandbox_says_that_it_is_well_and_who_it_is(caller: Caller) -> None:
    answer = caller.request("GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert answer.headers["Server"] == "personal-auth-sandbox"


@pytest.mark.parametrize(
    ("method", "path", "error", "allow"),
    [
        ("GET", "/v1/personal", (405, "NOT_IMPLEMENTED"), "POST"),
        ("PUT", "/charges", (405, "NOT_IMPLEMENTED"), "GET, DELETE"),
        ("POST", "/elsewhere", (404, "NOT_FOUND"), None),
    ],
)
def test_other_routes_are_errors_in_the_providers_form(
    caller: Caller, method: str, path: str, error: tuple[int, str], allow: str | None
) -> None:
    answer = caller.request(method, path)
    assert (answer.error, answer.headers["Allow"]) == (error, allow)
    assert answer.headers["Server"] == "personal-auth-sandbox"
    assert caller.counts().calls == 0


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "一 name of a person\r\n\r\n".encode()]
)
def test_what_is_no_http_is_answered_closed_and_nowhere_written(
    caller: Caller, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert b" 400 Bad Request" in caller.exchange(data)
    assert caller.call(MATCH).status == 200
    assert capfd.readouterr() == ("", "")


def test_a_body_that_is_too_long_is_refused(caller: Caller) -> None:
    assert caller.post(b"x" * (MAX_BODY + 1)).error == (413, "INVALID_ARGUMENT")
    assert caller.counts().calls == 0


def test_a_client_that_leaves_in_the_middle_harms_nobody(
    caller: Caller, capfd: pytest.CaptureFixture[str]
) -> None:
    request = caller.raw_call(MATCH)
    for part in (b"", request[:10], request[:-1]):
        with caller.connect() as client:
            client.sendall(part)
    for name in ("huge", "dripping", "dripping_head", "hang_before_charge"):
        with caller.connect() as client:  # and those that leave an answer unread
            client.sendall(caller.raw_call(BY_NAME[name].id_card))
    caller.sandbox.wait_for_calls(4)
    assert caller.call(MATCH).status == 200
    assert capfd.readouterr() == ("", "")


def test_stopping_drops_open_connections_and_closes_the_port() -> None:
    with RunningSandbox() as sandbox:
        caller = Caller(sandbox)
        client = caller.connect()
        client.sendall(caller.raw_call(BY_NAME["hang_before_charge"].id_card))
        sandbox.wait_for_calls(1)
    with client:
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        caller.call(MATCH)


def test_a_port_in_use_is_a_mistake_of_one_line(ended: Ended) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        _, _, err = ended(f"sandbox --port {port}")
    assert err.endswith(f": cannot listen on 127.0.0.1:{port} (address already in use)\n")


@pytest.mark.parametrize("asked", ["127.0.0.1", "::1"])
def test_every_address_is_of_both_protocols(asked: str) -> None:
    with RunningSandbox(SandboxSettings(host="::")) as sandbox:
        client = HTTPConnection(asked, sandbox.port, timeout=FAR_TOO_LONG)
        client.request("GET", "/healthz", headers={"Connection": "close"})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_cleanly(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "sandbox", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(number)
        assert process.wait(FAR_TOO_LONG) == 0
        assert process.stderr.read() == ""
    assert line.startswith("sandbox: listening on http://127.0.0.1:")
    assert line.endswith("/v1/personal\n")


def test_the_command_says_what_to_install_and_shows_its_table_without_it(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "worker.sandbox.server")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert ended("sandbox")[2].endswith("'verification-worker[sandbox]'\n")
    assert MATCH in ended("sandbox --table")[1]
