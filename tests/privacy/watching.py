"""What can only be seen while it happens: processes, sessions of the database, metrics, spans."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import psycopg

from local_ports import LOOPBACK, free_ports

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# A scrape each half second of each worker; sessions are looked at as often.
_EVERY = 0.5
_PAGES = ("metrics", "readyz", "livez")
_ACTIVITY = "SELECT application_name || ' ' || coalesce(query, '') FROM pg_stat_activity"
_STATEMENTS = "SELECT query FROM pg_stat_statements"


class Watch:
    """Looks at everything again and again on a thread, and keeps what differs."""

    def __init__(self, database_url: str) -> None:
        self.processes: set[bytes] = set()
        """Command lines and environments."""
        self.sessions: set[bytes] = set()
        """What sessions of the database execute, as other sessions can read it."""
        self.scrapes: set[bytes] = set()
        self.scraped = 0
        self._database_url = database_url
        self._pids: set[int] = set()
        self._ports: list[int] = []
        self._over = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> Self:
        with psycopg.connect(self._database_url, autocommit=True) as database:
            database.execute("CREATE EXTENSION pg_stat_statements SCHEMA public")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def process(self, pid: int) -> None:
        """Look at this process now, and from now on."""
        self._look_at(pid)
        self._pids.add(pid)

    def scraped_port(self) -> int:
        """Return a free port that is scraped from now on."""
        (port,) = free_ports(1)
        self._ports.append(port)
        return port

    def statements(self) -> set[bytes]:
        """Return what the database remembers of all statements since it was started."""
        return self._asked(_STATEMENTS)

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            for pid in list(self._pids):
                self._look_at(pid)
            with contextlib.suppress(psycopg.Error):  # the proof restarts it on purpose
                self.sessions |= self._asked(_ACTIVITY) | self.statements()
            for port in list(self._ports):
                self._scrape(port)

    def _asked(self, query: str) -> set[bytes]:
        with psycopg.connect(self._database_url, autocommit=True) as database:
            return {row[0].encode() for row in database.execute(query)}

    def _look_at(self, pid: int) -> None:
        for name in ("cmdline", "environ"):
            try:
                self.processes.add(Path(f"/proc/{pid}/{name}").read_bytes())
            except OSError:  # it has ended
                self._pids.discard(pid)

    def _scrape(self, port: int) -> None:
        for page in _PAGES:
            try:
                with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/{page}", timeout=5) as found:
                    self.scrapes.add(found.read())
                    self.scraped += 1
            except urllib.error.HTTPError as told:
                self.scrapes.add(told.read())
            except (OSError, HTTPException):  # not up yet, killed, or no more
                return


class Collector(ThreadingHTTPServer):
    """Takes spans as OTLP over HTTP and keeps the bytes as they came."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        super().__init__((LOOPBACK, 0), _Handler)
        self._thread = Thread(target=self.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://{LOOPBACK}:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""
