"""A sandbox in the tests' own process, and a client of it.

The client signs with the code that test_signature proves by JD's own vectors.
"""

import asyncio
import base64
import http.client
import json
import socket
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from threading import Condition, Semaphore, Thread
from types import SimpleNamespace
from typing import Any, Self

from worker.sandbox.application import StandIn
from worker.sandbox.server import listening
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.signature import Authorization, canonical_request, signature

FAR_TOO_LONG = 60.0  # a test that waits so long has failed
ANYONE = "11010119900307109X"
OF_ANY_DATE = SandboxSettings(max_clock_skew=1e11)  # for a sandbox that a test tells the time


class HeldSleep:
    """A sleep that lasts until the test ends it; `begun` is released for each one."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.begun = Semaphore(0)
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self, seconds: float) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.asked.append(seconds)
        self.begun.release()
        await waiting

    def end(self) -> None:
        for waiting in self._waiting:
            waiting.get_loop().call_soon_threadsafe(_wake, waiting)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class RunningSandbox:
    """The sandbox in a thread; a context manager. Its counts survive a stop and a start."""

    def __init__(
        self,
        settings: SandboxSettings | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.settings = settings or SandboxSettings()
        self.port = 0
        self._clock = clock
        self._stand_in = StandIn(self.settings, self._arrival, sleep)
        self._calls = 0
        self._changed = Condition()

    def __enter__(self) -> Self:
        """Return once the port is open."""
        started: Future[int] = Future()
        self._thread = Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        self.port = started.result(FAR_TOO_LONG)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def wait_for_calls(self, calls: int) -> None:
        """Return as soon as so many calls are in the counts of whoever asks from now on."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._calls >= calls, FAR_TOO_LONG)

    def forget_calls(self) -> None:
        """Count the calls that `wait_for_calls` waits for anew."""
        self._calls = 0

    def _arrival(self) -> float:
        """Tell the time; the sandbox asks once for each call, and counts it at once."""
        with self._changed:
            self._calls += 1
            self._changed.notify_all()
        return self._clock()

    async def _serve(self, started: Future[int]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with listening(self.settings, self._stand_in, self._tls) as port:
                started.set_result(port)
                await self._stopping.wait()
        except OSError as error:
            started.set_exception(error)


@dataclass(frozen=True)
class Answer:
    """One response, read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.json["result"]["authInfo"]
        return info

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]["status"]


@dataclass
class Signer:
    """Signs POST /v1/personal; every field can be set wrongly on purpose."""

    access_key: str = "SANDBOXACCESSKEY"
    secret_key: str = "sandbox-secret-key"
    version: str = "2"
    region: str = "jdcloud-api"
    service: str = "cloudauth"
    token: str | None = None
    clock_offset: float = 0.0
    unsigned: frozenset[str] = field(default_factory=frozenset)
    changes: dict[str, str | None] = field(default_factory=dict)

    def headers(self, host: str, body: bytes, nonce: str | None = None) -> dict[str, str]:
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + self.clock_offset))
        headers = {
            "content-type": "application/json",
            "host": host,
            "x-jdcloud-date": date,
            "x-jdcloud-nonce": nonce or str(uuid.uuid4()),
        }
        if self.token is not None:
            encoded = base64.b64encode(self.token.encode()).decode()
            headers["x-jdcloud-security-token"] = encoded
        signed = sorted(headers.keys() - self.unsigned)
        canonical = canonical_request("POST", "/v1/personal", headers, signed, body)
        day = date[:8]
        given = Authorization(
            self.version, self.access_key, day, self.region, self.service, tuple(signed), ""
        )
        headers["authorization"] = (
            f"{given.algorithm} Credential={self.access_key}/{'/'.join(given.scope)}, "
            f"SignedHeaders={';'.join(signed)}, "
            f"Signature={signature(self.secret_key, given, date, canonical)}"
        )
        for name, value in self.changes.items():
            if value is None:
                headers.pop(name, None)
            else:
                headers[name] = value
        return headers


def body_for(id_card: str, name: str = "张三") -> bytes:
    user = {"name": name, "idCard": id_card}
    return encode({"personalSpec": {"checkType": 2, "personalUser": user}})


def encode(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


class Caller:
    """Calls one sandbox, each time on a new connection."""

    def __init__(self, sandbox: RunningSandbox, signer: Signer | None = None) -> None:
        self.sandbox = sandbox
        self.signer = signer or Signer()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.sandbox.port}"

    def call(self, id_card: str, name: str = "张三", nonce: str | None = None) -> Answer:
        return self.post(body_for(id_card, name), nonce)

    def post(self, body: bytes, nonce: str | None = None) -> Answer:
        return self.request(
            "POST", "/v1/personal", body, self.signer.headers(self.host, body, nonce)
        )

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=FAR_TOO_LONG)
        with closing(connection):
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def counts(self) -> Any:
        return SimpleNamespace(**self.request("GET", "/charges").json)

    def reset(self) -> None:
        """Zero the counts and end the scenario."""
        assert self.request("POST", "/reset").status == 200
        self.sandbox.forget_calls()

    def play(self, document: object) -> Answer:
        return self.request("PUT", "/scenario", encode(document))

    def raw_call(self, id_card: str, name: str = "张三") -> bytes:
        """Return a whole signed request as bytes."""
        body = body_for(id_card, name)
        headers = self.signer.headers(self.host, body) | {"content-length": str(len(body))}
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        return f"POST /v1/personal HTTP/1.1\r\n{lines}\r\n".encode() + body

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.sandbox.port), timeout=FAR_TOO_LONG)

    def exchange(self, data: bytes) -> bytes:
        """Send bytes, and return all that comes back until the server closes."""
        with self.connect() as client:
            client.sendall(data)
            return b"".join(iter(lambda: client.recv(65_536), b""))
