"""A TCP server that plays a script, one act per request: the provider on its worst days.

And the client that calls it about a person who does not exist.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from select import select
from typing import Any

from worker.core.connecting import Unconnected
from worker.core.outcome import CallClass, CallReport, Charged, Outcome
from worker.core.request import CheckType, Person, PersonField, VerificationRequest
from worker.provider.client import PersonalAuthClient
from worker.provider.config import ProviderConfig

Act = Callable[["Exchange"], bool]
# From a host and days to the CA's file and a server's context.
Certificate = Callable[..., tuple[str, ssl.SSLContext]]

OPEN = ExitStack()
"""What closes at the end of each test: the last to be opened is the first."""

_FIELDS = {PersonField.NAME: "张三", PersonField.ID_CARD: "11010519491231002X"}
ASKED = VerificationRequest(
    "r-1", CheckType.ID_CARD_TWO_FACTOR, Person(_FIELDS), "test", None, None
)
PORTRAIT = VerificationRequest(
    "r-2",
    CheckType.PORTRAIT_THREE_FACTOR,
    Person({**_FIELDS, PersonField.PORTRAIT: "/9j/" + "A" * 200_000}),
    "test",
    None,
    None,
)
MATCH = (
    '{"requestId":"rq-1","result":{"authInfo":{"success":true,"hasException":false,"code":"ok",'
    '"message":"认证通过","detail":"{\\"chargeFlag\\":\\"1\\"}"}}}'
).encode()
MISMATCH = b'{"requestId":"rq-2","result":{"success":false}}'
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n%b" % (len(MATCH), MATCH)


@dataclass
class Exchange:
    """One request as it arrived, and what an act needs to answer it."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes
    sock: socket.socket = field(repr=False)
    over: threading.Event = field(repr=False)
    """Set when the test is over: what acts wait for."""


def answer(body: bytes = MATCH, status: int = 200, close: bool = False, **headers: str) -> Act:
    """Answer in full; header names are written with underscores."""
    head = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if close:
        head.append("Connection: close")
    return raw("\r\n".join(head).encode() + b"\r\n\r\n" + body, close=close)


def raw(data: bytes, close: bool = True) -> Act:
    """Send these bytes; then close the connection, or keep it."""

    def act(exchange: Exchange) -> bool:
        exchange.sock.sendall(data)
        return not close

    return act


def reset(exchange: Exchange) -> bool:
    """Drop the connection with a TCP reset."""
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def silence(exchange: Exchange) -> bool:
    """Say nothing until the test is over."""
    exchange.over.wait()
    return False


def drip(before: bytes, dripped: bytes) -> Act:
    """Send some bytes at once and the others slowly, for ever."""

    def act(exchange: Exchange) -> bool:
        exchange.sock.sendall(before)
        with suppress(OSError):
            while not exchange.over.wait(0.02):
                exchange.sock.sendall(dripped)
        return False

    return act


class ScriptedServer:
    """Serves on 127.0.0.1 until `close`; after the last act it plays that one again."""

    def __init__(self, *acts: Act, tls: ssl.SSLContext | None = None) -> None:
        self._acts = list(acts) or [answer()]
        self._tls = tls
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.arrived = threading.Semaphore(0)
        """Released once for each request that has arrived."""
        scheme = "http" if tls is None else "https"
        host = "127.0.0.1" if tls is None else "localhost"
        self.url = f"{scheme}://{host}:{self._listener.getsockname()[1]}/v1/personal"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End every act and connection."""
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError), sock:
            sock.settimeout(60)  # so long a client may stall between two bytes
            if self._tls is not None:
                with self._tls.wrap_socket(sock, server_side=True) as wrapped:
                    self.play(wrapped, number)
            else:
                self.play(sock, number)

    def play(self, sock: socket.socket, number: int) -> None:
        with sock.makefile("rb") as stream:
            while True:
                line = stream.readline().decode()
                if not line:
                    return
                headers = {}
                while (field_line := stream.readline().decode().strip()) != "":
                    name, _, value = field_line.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                exchange = Exchange(number, line.strip(), headers, body, sock, self._over)
                with self._lock:
                    self.exchanges.append(exchange)
                    act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
                self.arrived.release()
                if not act(exchange):
                    return


def serve(*acts: Act, tls: ssl.SSLContext | None = None) -> ScriptedServer:
    """Start a server for the rest of the test."""
    server = ScriptedServer(*acts, tls=tls)
    OPEN.callback(server.close)
    return server


# A busy machine stalls for seconds anywhere: no limit is near but the one that a test is about.
_LIMITS = ("connect_timeout", "read_timeout", "call_deadline", "free_budget", "keep_idle")


def connect(url: str, **options: Any) -> PersonalAuthClient:
    """Make a client for the rest of the test; a limit is an hour, unless the test sets it."""
    own = {name: options.pop(name) for name in ("stopping", "clock", "nonce") if name in options}
    options = {"free_tries": 1, **dict.fromkeys(_LIMITS, 3_600.0), **options}
    config = ProviderConfig(url, "AK-TEST", "SK-TEST", **options)
    client = PersonalAuthClient(config, **own)
    OPEN.callback(client.close)
    return client


def await_news(client: PersonalAuthClient) -> None:
    """Return when the client's one idle connection has something to read, be it the end."""
    pool: Any = client._transport._pool.pool
    (idle,) = filter(None, pool.queue)
    assert select([idle.sock], [], [], 60)[0]


def ask_two(client: PersonalAuthClient) -> CallReport:
    """Return the report of an attacked call; the next call must get its own answer, `MISMATCH`."""
    first, second = client.verify(ASKED), client.verify(ASKED)
    assert (second.verdict, second.provider_request_id) == (Outcome.MISMATCH, "rq-2")
    return first


def assert_not_sent(report: CallReport, because: Unconnected) -> None:
    assert (report.call_class, report.charged) == (CallClass.NOT_SENT, Charged.NO)
    assert report.not_sent_because is because
