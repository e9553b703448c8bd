"""The HTTP server for probes and scrapes, on threads of its own: it answers GET from memory.

All of it is for the inside of a cluster: there is no password.
"""

import errno
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

import structlog

from worker.telemetry.logs import LogEvent, describe


class HealthAnswer(NamedTuple):
    """What a probe or a scrape gets."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class CannotListen(Exception):
    """The address cannot be listened on; the text names the setting to look at."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print no traceback: who hangs up before the answer is no news, all else goes to the log.

        A probe hangs up after a second, which a busy machine takes at times.
        """
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            structlog.get_logger().error(LogEvent.FAILED, **describe(error))


class HealthServer:
    """Answers what `answer` makes of a path and an Accept header; it must not wait.

    Raises `CannotListen`.
    """

    def __init__(self, host: str, port: int, answer: Callable[[str, str], HealthAnswer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = answer(self.path, self.headers.get("Accept", ""))
                self.send_response(said.status)
                self.send_header("Content-Type", said.content_type)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)

            def log_message(self, *_: object) -> None:
                """Keep probes out of the log: one each few seconds says nothing."""

        self._server = _Server((host, port), Handler, bind_and_activate=False)
        self._server.socket.close()  # of IPv4, whatever the host is
        self._server.socket = listener(host, port)
        # It looks at nothing between two connections: no pause.
        serve, pause = self._server.serve_forever, None
        self._thread = Thread(target=serve, args=(pause,), name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.socket.shutdown(socket.SHUT_RDWR)  # or it waits for a connection first
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_EVERY, _EVERY_IPV4 = "::", "0.0.0.0"  # noqa: S104


def listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address or a name; `::` takes IPv4 as well."""
    host = host.removeprefix("[").removesuffix("]")
    if host == _EVERY and not socket.has_dualstack_ipv6():
        host = _EVERY_IPV4
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # A name such as localhost means IPv4 where it has both.
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return socket.create_server(address, family=family, dualstack_ipv6=host == _EVERY)
    except (OSError, UnicodeError) as error:
        unknown = "HTTP_HOST: is no address and no name of this machine"
        raise CannotListen(_REFUSALS.get(getattr(error, "errno", None), unknown)) from None


_REFUSALS: dict[int | None, str] = {
    errno.EADDRINUSE: "HTTP_PORT: cannot be opened: somebody listens there already",
    errno.EACCES: "HTTP_PORT: cannot be opened: this user may not take so low a number",
}
