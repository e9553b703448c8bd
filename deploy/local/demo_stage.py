"""What the demonstration runs on: servers, schema, topology, sandbox and worker; what it prints."""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import requests
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from local_errors import StackError
from local_management import DIRECTLY
from local_ports import LOOPBACK, free_ports
from local_process import Process, run
from local_programs import CHECKOUT
from local_stack import Servers
from local_workspace import Workspace
from worker.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import JustifyMethod

    from demo_messages import Row

_BIN = Path(sys.executable).parent

# On servers of our own nobody wants to watch the standard 5 s pass.
_QUICK_RETRIES = "1s,5s"

# Of the sandbox, and of the console.
_ADDRESS = re.compile(r'(?:listening on |"url":")(http[^\s"]+)')

# Fits any terminal. In a narrower one what is looked for first still stays whole.
_COLUMNS = 80
_WHOLE = {"outcome", "charged", "calls"}

_STYLES = (
    dict.fromkeys(("match", "answered"), "green")
    | dict.fromkeys(("mismatch", "no_record"), "yellow")
    | dict.fromkeys(("rejected", "expired", "conflict", "in_doubt", "unavailable"), "magenta")
)


class NotAsExpected(StackError):
    """The product did something else than it promises."""


class Report:
    """Prints for a person: colours on a terminal, plain text elsewhere, at most 80 columns."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        width = self._console.width if self._console.is_terminal else _COLUMNS
        self._console.width = min(_COLUMNS, width)
        self.busy = self._console.status
        self._started = time.monotonic()

    def title(self, words: str) -> None:
        """Begin a part."""
        self._console.print(f"\n[bold]{words}[/bold]")

    def step(self, what: str, words: str) -> None:
        """Say what has just been done, with the seconds since the start."""
        seconds = f"{time.monotonic() - self._started:5.1f} s  "
        line = Text.assemble((seconds, "dim"), (f"{what:<11}", "bold"), words)
        self._console.print(line, soft_wrap=True)

    def lines(self, *lines: str, style: str = "") -> None:
        """Print lines that people copy: never wrapped, nothing in them interpreted."""
        for line in lines:
            self._console.print(Text(f"  {line}".rstrip(), style=style), soft_wrap=True)

    def table(self, rows: Sequence[Row]) -> None:
        """Print rows that all have the keys of the first one."""
        # Without the box's edge and with one space each side of a gap: the widest has 79 with it.
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for name, value in (rows[0] if rows else {"(no rows)": None}).items():
            right = isinstance(value, int) or name == "http"
            side: JustifyMethod = "right" if right else "left"
            table.add_column(name, justify=side, overflow="fold", no_wrap=name in _WHOLE)
        for row in rows:
            texts = ("" if value is None else str(value) for value in row.values())
            table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in texts))
        self._console.print(Padding(table, (1, 0, 1, 2), expand=False))


class Stage:
    """All that runs, started in order and ended in the reverse order by `stop()` or `close()`."""

    def __init__(self, report: Report) -> None:
        self.servers = Servers()
        self.worker: Process | None = None
        self._report = report
        self._workspace = Workspace("demonstration")
        self._exits = ExitStack()
        self._exits.callback(self.servers.close)
        self._exits.callback(self._workspace.close)
        self.close = self._exits.close
        self.directory = self._workspace.directory
        # Without the worker's settings: a CONCURRENCY of the shell stays out.
        settings = {name.upper() for name in Settings.model_fields}
        settings |= {f"{name}_FILE" for name in settings}
        shell = {name: value for name, value in os.environ.items() if name not in settings}
        self.environment = shell | {
            "PROVIDER_MODE": "sandbox",
            "PROVIDER_ACCESS_KEY": f"DEMO{secrets.token_hex(8).upper()}",
            "PROVIDER_SECRET_KEY": secrets.token_hex(16),
            "DIGEST_KEY": secrets.token_hex(32),
        }

    def own_variables(self) -> dict[str, str]:
        """Return what a person's shell lacks to talk to what runs here."""
        ours = self.environment.items()
        return {name: value for name, value in ours if os.environ.get(name) != value}

    def start(self) -> None:
        """Start everything; return when the worker consumes. Raises StackError."""
        sandbox = self._service("sandbox", "sandbox", "--port", "0")  # while the servers come up
        self.servers.start()
        self._use_servers()
        self._report.step("schema", self.command("alembic", "upgrade", "head")[0])
        self._report.step("topology", self.command("verification-worker", "topology", "apply")[0])
        self.environment["PROVIDER_URL"] = url = _address(sandbox)
        self._report.step("sandbox", f"{url}, a stand-in for JD")
        (port,) = free_ports(1)
        self.worker = self._service("worker", "run", HTTP_HOST=LOOPBACK, HTTP_PORT=str(port))
        self.worker.wait_until(lambda: _is_ready(f"http://{LOOPBACK}:{port}/readyz"))
        self._report.step("worker", f"ready; its log: {self.directory / 'worker.log'}")

    def console(self) -> str:
        """Start the console, and return its address."""
        return _address(self._service("console", "console", "--port", "0", "--allow-actions"))

    def is_working(self) -> bool:
        """Return whether the worker is alive."""
        return self.worker is not None and self.worker.is_alive()

    def billed(self) -> Row:
        """Ask the sandbox for the calls and charges that it has counted."""
        address = urljoin(self.environment["PROVIDER_URL"], "/charges")
        counts: Row = requests.get(address, timeout=2, proxies=DIRECTLY).json()
        return counts

    def command(self, program: str, *arguments: str) -> tuple[str, str]:
        """Run a command of the product; return it and its output. Raises StackError."""
        environment = {**self.environment, "COLUMNS": str(_COLUMNS - 2)}
        said = run([str(_BIN / program), *arguments], environment, CHECKOUT)
        return " ".join((program, *arguments)), said.rstrip()

    def stop(self) -> None:
        """Stop everything in order. Raises NotAsExpected where the worker does not end well."""
        if self.worker is not None:
            self.worker.stop()
            if self.worker.exit_code != 0:
                raise NotAsExpected(f"the worker ended with code {self.worker.exit_code}")
            self._report.step("worker", "finished its work after SIGTERM and exited 0")
        self.close()
        self._report.step("the rest", "stopped; no process and no file is left")

    def _use_servers(self) -> None:
        """Say where the servers are and, where they are ours, make a database with a good name."""
        broker, database = self.servers.broker, self.servers.database
        self.environment |= self.servers.environment()
        if database.private:
            self.environment["DATABASE_URL"] = database.create_database("verification")
        if broker.private:
            self.environment["RETRY_DELAYS"] = _QUICK_RETRIES
        for name, server, key in (
            ("PostgreSQL", database, "DATABASE_URL"),
            ("RabbitMQ", broker, "AMQP_URL"),
        ):
            parts = urlsplit(self.environment[key])  # without the user and the password
            whose = "private" if server.private else "as the environment names it"
            self._report.step(name, f"{parts.hostname}:{parts.port}{parts.path}, {whose}")

    def _service(self, name: str, *arguments: str, **more: str) -> Process:
        return Process(
            name,
            [str(_BIN / "verification-worker"), *arguments],
            workspace=self._workspace,
            environment={**self.environment, **more},
            ending=signal.SIGTERM,
        )


def _address(service: Process) -> str:
    """Return the address that a service says it can be found at, once it does."""
    service.wait_until(lambda: _ADDRESS.search(service.log()) is not None)
    return str(_ADDRESS.findall(service.log())[0])


def _is_ready(address: str) -> bool:
    try:
        return requests.get(address, timeout=2, proxies=DIRECTLY).ok
    except requests.RequestException:
        return False
