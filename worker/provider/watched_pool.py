"""Connections that know when bytes leave, for http and https, and pools of them.

urllib3 keeps, checks, verifies and reuses them. What is on the way of every call is done here:
the request leaves as one piece, the answer is our own reader's (`answer`), and the call under way
is told of its socket.
"""

import http.client
import socket
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from worker.provider.answer import Answer
from worker.provider.deadline import Reaper
from worker.provider.dialing import Proxy, dial

# A socket with nothing on its way takes this much at once, so nobody waits for it; and a portrait
# of 200 kB is not worth copying only to leave in the same piece as its head.
_ONE_PIECE = 8 * 1024


class WatchedConnection(HTTPConnection):
    """Sends whole requests. Once it is connected, the reaper alone ends a wait."""

    def __init__(self, *args: Any, reaper: Reaper, through: Proxy | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._through = through
        self._reaper = reaper
        self._connect_timeout: float = self.timeout  # type: ignore[assignment]
        self.idle_since = 0.0

    def connect(self) -> None:
        """Connect, TLS included, within the connect timeout and what is left of the call."""
        super().connect()
        self._socket().settimeout(None)

    def _new_conn(self) -> socket.socket:
        remaining = self._reaper.current().remaining
        return dial(self._dns_host, self.port, self._through, self._connect_timeout, remaining)

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        **_options: object,
    ) -> None:
        """Send a request whose headers, Host and Content-Length too, are all given."""
        if self.sock is None:
            self.connect()
        lines = "".join([f"{name}: {value}\r\n" for name, value in (headers or {}).items()])
        head = f"{method} {url} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        sock = self._socket()
        # From here on a byte may have left, whatever happens.
        self._reaper.current().send_on(sock)
        if len(body) <= _ONE_PIECE:
            sock.sendall(head + body)
        else:
            sock.sendall(head)
            sock.sendall(body)

    def getresponse(self) -> Answer:  # type: ignore[override]
        """Read the answer's head; the body is left to be read, and not decoded."""
        call = self._reaper.current()
        answer = Answer(self._socket(), call.await_byte, call.let_go)
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()  # the answer keeps the socket open until it is read
        return answer

    def _socket(self) -> socket.socket:
        sock: socket.socket | None = self.sock
        if sock is None:
            raise http.client.NotConnected
        return sock


class WatchedTlsConnection(WatchedConnection, HTTPSConnection):
    """The same over TLS."""


class WatchedPool(HTTPConnectionPool):
    """A pool whose connections come back only when the call has let them go.

    `keep_idle` is how long an unused connection is used again, in seconds.
    """

    ConnectionCls = WatchedConnection  # type: ignore[assignment]

    def __init__(self, *args: Any, reaper: Reaper, keep_idle: float, **options: Any) -> None:
        super().__init__(*args, reaper=reaper, **options)
        self._reaper = reaper
        self._keep_idle = keep_idle

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], **_options: object
    ) -> Answer:
        """Make one exchange. The answer must be read and released; nothing is retried."""
        connection: Any = self._get_conn()
        if monotonic() - connection.idle_since > self._keep_idle:
            connection.close()
        try:
            connection.request(method, url, body, headers)
            answer: Answer = connection.getresponse()
        except BaseException:
            self._reaper.current().let_go()
            connection.close()
            self._give_back(connection)
            raise
        answer.release = partial(self._release, connection, answer)
        return answer

    def _release(self, connection: Any, answer: Answer) -> None:
        self._reaper.current().let_go()
        if not answer.isclosed():  # it was not read to its end
            answer.close()
            connection.close()
        elif answer.surplus:  # what came after it would be read as the next call's
            connection.close()
        self._give_back(connection)

    def _give_back(self, connection: Any) -> None:
        connection.idle_since = monotonic()
        self._put_conn(connection)


class WatchedTlsPool(WatchedPool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = WatchedTlsConnection  # type: ignore[assignment]
