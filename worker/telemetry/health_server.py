"""The HTTP server for probes and scrapes, on threads of its own: it answers GET from memory.

All of it is for the inside of a cluster: there is no password.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class HealthAnswer(NamedTuple):
    """What a probe or a scrape gets."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class HealthServer:
    """Answers what `answer` makes of a path and an Accept header; it must not wait."""

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

        self._server = ThreadingHTTPServer((host, port), Handler)
        # The pause between its polls bounds how long `close` waits.
        serve, pause = self._server.serve_forever, 0.1
        self._thread = Thread(target=serve, args=(pause,), name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop to answer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
