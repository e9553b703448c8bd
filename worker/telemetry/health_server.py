"""`/livez`, `/readyz` and `/metrics` over HTTP, on threads of their own.

Live means that the worker's own threads work; ready means that messages can be worked on now. A
probe's answer says in words what is wrong. All of it is for the inside of a cluster: there is no
password.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT = "text/plain; charset=utf-8"


class Sources(NamedTuple):
    """Who knows the answers; each is called on the server's threads and must not wait."""

    dead: Callable[[], list[str]]
    """What can only be cured by a restart, in words."""
    missing: Callable[[], list[str]]
    """What keeps the worker from being ready, in words."""
    remark: Callable[[], str | None]
    """What one should know of a worker that is: a parked one is ready, for it waits on purpose."""
    metrics: Callable[[str], tuple[str, bytes]]
    """Content type and text of all metrics for an Accept header."""


class _Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class HealthServer:
    """Answers probes and scrapes."""

    def __init__(self, host: str, port: int, sources: Sources) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = _answer(sources, self.path, self.headers.get("Accept", ""))
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                """Keep probes out of the log: one each few seconds says nothing."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._thread = Thread(
            # The pause bounds how long `close` waits.
            target=self._server.serve_forever,
            args=(0.1,),
            name="health",
            daemon=True,
        )

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


def _answer(sources: Sources, path: str, accept: str) -> _Answer:
    match path:
        case "/livez":
            return _words(sources.dead(), None)
        case "/readyz":
            missing = sources.missing()
            return _words(missing, None if missing else sources.remark())
        case "/metrics":
            return _Answer(200, *sources.metrics(accept))
        case _:
            return _Answer(404, _TEXT, b"not found\n")


def _words(wrong: list[str], remark: str | None) -> _Answer:
    words = "\n".join(wrong) or remark or "ok"
    return _Answer(503 if wrong else 200, _TEXT, f"{words}\n".encode())
