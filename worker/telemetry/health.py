"""`/livez` and `/readyz` over HTTP, on a thread of their own.

Live means that the process answers; ready means that messages can be worked on now. The probe's
answer says in words what is missing.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class HealthServer:
    """Answers probes.

    `missing` returns what keeps the worker from being ready, in words, `remark` what one should
    know of a worker that is: a parked one is ready, for it waits on purpose.
    """

    def __init__(
        self,
        host: str,
        port: int,
        missing: Callable[[], list[str]],
        remark: Callable[[], str | None],
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.path == "/readyz"
                lacking = missing() if asked else []
                known = self.path in ("/livez", "/readyz")
                good = (remark() if asked else None) or "ok"
                words = "\n".join(lacking) or (good if known else "not found")
                body = f"{words}\n".encode()
                self.send_response(503 if lacking else 200 if known else 404)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

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
