"""What the demonstration runs on: servers, schema, topology, sandbox and worker."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from demo_report import Billed
from local_database import Database
from local_errors import StackError
from local_guard import Workspace
from local_ports import LOOPBACK, free_ports
from local_process import Process
from local_stack import Servers
from worker.settings import Settings

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from demo_report import Report

ROOT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent

# On servers of our own nobody wants to watch the standard 5 s pass.
_QUICK_RETRIES = "1s,5s"

_LISTENING = re.compile(r"listening on (http://(\S+?)/\S*)")


class NotAsExpected(StackError):
    """The product did something else than it promises."""


class Service(Process):
    """A process of ours beside the servers."""

    @property
    def exit_code(self) -> int | None:
        """The code that it ended with; None while it runs."""
        return self._child.poll()

    def log(self) -> str:
        """Return all that it has written."""
        return self._read_log()


class Stage:
    """All that runs, started in order and ended in the reverse order.

    Starting raises StackError, or AmqpError where the broker of AMQP_URL cannot be used.
    """

    def __init__(self, report: Report) -> None:
        self.environment: dict[str, str] = {}
        self.servers = Servers()
        self._report = report
        self._running = ExitStack()
        self._workspace: Workspace
        self._sandbox_address = ""
        self._worker: Service | None = None

    def __enter__(self) -> Self:
        self._workspace = Workspace("demonstration")
        self._running.callback(self._workspace.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    @property
    def directory(self) -> Path:
        """Where the logs of the sandbox and the worker are."""
        return self._workspace.directory

    @property
    def database_url(self) -> str:
        """The worker's database."""
        return self.environment["DATABASE_URL"]

    @property
    def amqp_url(self) -> str:
        """The worker's broker."""
        return self.environment["AMQP_URL"]

    def own_variables(self) -> dict[str, str]:
        """Return what a person's shell lacks to talk to what runs here."""
        ours = {"PROVIDER_URL", "RETRY_DELAYS", *_provider_settings()}
        ours |= {name for name in self.servers.environment() if not os.environ.get(name)}
        return {name: value for name, value in self.environment.items() if name in ours}

    def start(self) -> None:
        """Start everything; return when the worker consumes."""
        self.environment = _clean_environment() | _provider_settings()
        sandbox = self._service("sandbox", "--port", "0")  # it comes up while the servers do
        self._running.enter_context(self.servers)
        self._use_servers()
        self._run("schema", "alembic", "upgrade", "head")
        self._run("topology", "verification-worker", "topology", "apply")
        sandbox.wait_until(lambda: _LISTENING.search(sandbox.log()) is not None)
        self._use_sandbox(sandbox.log())
        self._start_worker()

    def is_working(self) -> bool:
        """Tell whether the worker is alive."""
        return self._worker is not None and self._worker.is_alive()

    def worker_log_tail(self) -> str:
        """Return the worker's last lines; "" where it was never started."""
        return "" if self._worker is None else self._worker.log_tail()

    def billed(self) -> Billed:
        """Ask the sandbox what it has counted."""
        counts = json.loads(_get(self._sandbox_address, "/charges")[1])
        return Billed(counts["calls"], counts["charges"])

    def stop(self) -> None:
        """Stop everything in order. Raises NotAsExpected where the worker does not end well."""
        if self._worker is not None:
            self._worker.stop()
            if self._worker.exit_code != 0:
                raise NotAsExpected(f"the worker ended with code {self._worker.exit_code}")
            self._report.step("worker", "finished its work after SIGTERM and exited 0")
        self._running.close()
        self._report.step("the rest", "stopped; no process and no file is left")

    def _use_servers(self) -> None:
        """Say where the servers are and, where they are ours, make a database with a good name."""
        self.environment |= self.servers.environment()
        database = self.servers.database
        if isinstance(database, Database):
            self.environment["DATABASE_URL"] = database.create_database("verification")
        self._report.step("PostgreSQL", _place(self.database_url, private=database.private))
        if self.servers.broker.private:
            self.environment["RETRY_DELAYS"] = _QUICK_RETRIES
        self._report.step("RabbitMQ", _place(self.amqp_url, private=self.servers.broker.private))

    def _use_sandbox(self, log: str) -> None:
        found = _LISTENING.search(log)
        if found is None:
            raise NotAsExpected(f"the sandbox does not say where it listens: {log.strip()}")
        self.environment["PROVIDER_URL"], self._sandbox_address = found.groups()
        self._report.step("sandbox", f"{found.group(1)}, the stand-in for JD Cloud")

    def _start_worker(self) -> None:
        (port,) = free_ports(1)
        self.environment |= {"HTTP_HOST": LOOPBACK, "HTTP_PORT": str(port)}
        worker = self._worker = self._service("worker", command="run")
        worker.wait_until(lambda: _is_ready(f"{LOOPBACK}:{port}"))
        self._report.step("worker", f"ready; its log: {self.directory / 'worker.log'}")

    def _service(self, name: str, *options: str, command: str = "") -> Service:
        service = Service(
            name,
            [str(_BIN / "verification-worker"), command or name, *options],
            workspace=self._workspace,
            environment=self.environment,
        )
        self._running.callback(service.stop)
        return service

    def _run(self, what: str, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_BIN / program), *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        command = " ".join((program, *arguments))
        if done.returncode != 0:
            raise StackError(f"{command} ended with code {done.returncode}: {done.stderr.strip()}")
        self._report.step(what, command)


def _clean_environment() -> dict[str, str]:
    """Return the shell's environment without the worker's settings: a CONCURRENCY stays out."""
    settings = {name.upper() for name in Settings.model_fields}
    settings |= {f"{name}_FILE" for name in settings}
    return {name: value for name, value in os.environ.items() if name not in settings}


def _provider_settings() -> dict[str, str]:
    return {
        "PROVIDER_MODE": "sandbox",
        "PROVIDER_ACCESS_KEY": f"DEMO{secrets.token_hex(8).upper()}",
        "PROVIDER_SECRET_KEY": secrets.token_hex(16),
        "DIGEST_KEY": secrets.token_hex(32),
    }


def _place(url: str, *, private: bool) -> str:
    """Return a server's address without the user and the password."""
    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port}{parts.path}"
    return f"{address}, private" if private else f"{address}, as the environment names it"


def _is_ready(address: str) -> bool:
    try:
        return _get(address, "/readyz")[0] == http.client.OK
    except OSError:
        return False


def _get(address: str, path: str) -> tuple[int, bytes]:
    """Fetch a page of our own machine; a proxy of the environment has no business between."""
    connection = http.client.HTTPConnection(address, timeout=2.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
