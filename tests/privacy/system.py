"""What the proof runs on: servers that tell as much as they can, and processes that leave files.

given/   what people hand over: requests as files. Not searched.
logs/    standard output and error of every process
left/    every process's working directory, its TMPDIR and its HOME
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from local_broker import Broker
from local_database import Database
from local_process import Workspace
from tests.conftest import migrate
from tests.e2e.harness import CHECKOUT, COMMAND, SandboxProcess, Stack, until
from tests.privacy.canaries import People
from tests.privacy.observation import BrokerPages, Firehose, Watch, http_server
from worker.amqp import declare
from worker.amqp.topology import topology

# Every statement with its parameters, of every session, and what fails with its parameters, too.
_TELLING_ALL = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
    "log_connections": "on",
    "log_min_messages": "info",
    "track_activity_query_size": "65536",
    "shared_preload_libraries": "pg_stat_statements",
}
_SHORT_TIMES = {
    "RETRY_DELAYS": "1s",
    "CALL_DEADLINE": "1",
    "CONNECT_TIMEOUT": "0.5",
    "LEASE_MARGIN": "0.5",
    "PROBE_SECONDS": "0.3",
    "SHUTDOWN_GRACE": "10",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
}
PYTHON = [sys.executable, "-m"]

# Seconds; on a busy machine eight commands on end have needed more than 120.
PATIENCE = 600.0
eventually = partial(until, seconds=PATIENCE)


@dataclass
class Job:
    """A process whose output goes to files."""

    popen: subprocess.Popen[bytes]
    out: Path
    err: Path

    def said(self, words: str) -> str | None:
        """Return the first line of its standard error with these words."""
        text = self.err.read_text(errors="replace")
        return next((line for line in text.splitlines() if words in line), None)

    def kill(self) -> None:
        """Kill -9."""
        self.popen.kill()
        self.popen.wait(PATIENCE)

    def stop(self) -> int:
        """SIGTERM; return the exit code, and where it failed print what was said last."""
        self.popen.terminate()
        code = self.popen.wait(PATIENCE)
        if code:
            print(self.err.name, *self.err.read_text(errors="replace").splitlines()[-5:], sep="\n")
        return code


class System:
    """The servers, the watch over them, and every process that was started."""

    def __init__(self, exits: ExitStack) -> None:
        self.people = People()
        self.jobs: list[Job] = []
        self.sites: list[Site] = []
        self.spans: list[bytes] = []
        self.processes: set[bytes] = set()
        """Command lines and environments."""
        self._numbers = count(1)
        workspace = Workspace("privacy")
        exits.callback(workspace.close)
        self.root = workspace.directory
        for name in ("given", "logs", "left", "left/tmp", "left/home"):
            (self.root / name).mkdir()
        self.given = self.root / "given"
        self.broker = Broker(configuration="log.console.level = debug\n")
        exits.callback(self.broker.close)
        self.broker.launch()
        self.database = exits.enter_context(Database(_TELLING_ALL))
        self.database_url = self.database.create_database("verification")
        migrate(self.database_url)
        self.collector_url = exits.enter_context(http_server(self._collect))
        self.watch = Watch(self.database_url)
        exits.callback(self.watch.stop)
        exits.callback(self._end_jobs)
        self.polite = self.sandbox()
        """Acts as ID numbers say, for all sites that want nothing else."""
        self.broker.wait_ready()
        self.broker_pages = BrokerPages(self.broker.management_url)

    def _collect(self, spans: bytes) -> bytes:
        self.spans.append(spans)
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    def _end_jobs(self) -> None:
        for site in self.sites:
            site.close()
        for job in self.jobs:
            job.kill()

    def run(self, name: str, command: list[str], settings: dict[str, str], given: str = "") -> Job:
        """Start a process; its files in logs/ bear its name and a number."""
        number = next(self._numbers)
        out, err = (self.root / "logs" / f"{name}-{number}.{end}" for end in ("out", "err"))
        left = self.root / "left"
        # Its own modules alone: what the shell has set for us is no part of the worker.
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment |= {
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'deploy/local'}",
            "TMPDIR": str(left / "tmp"),
            "HOME": str(left / "home"),
            "PYTHONFAULTHANDLER": "1",
            **settings,
        }
        with out.open("wb") as to_out, err.open("wb") as to_err:
            popen = subprocess.Popen(
                command,
                cwd=left,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=to_out,
                stderr=to_err,
            )
        job = Job(popen, out, err)
        self.jobs.append(job)
        for file in ("cmdline", "environ"):
            # Empty for the moment in which the kernel changes one program for another.
            told = Path(f"/proc/{popen.pid}/{file}")
            self.processes.add(eventually(told.read_bytes))
        assert popen.stdin is not None
        with popen.stdin as stream:
            stream.write(given.encode())
        return job

    def sandbox(self) -> SandboxProcess:
        """Start a sandbox."""
        job = self.run("sandbox", [*COMMAND, "sandbox", "--port", "0"], {})
        line = eventually(lambda: job.said("listening on"))
        url = next(word for word in line.split() if word.startswith("http://"))
        return SandboxProcess(job, url)  # type: ignore[arg-type]  # only its address is used


@contextmanager
def running_system() -> Iterator[System]:
    """Start the servers; end all in the end."""
    with ExitStack() as exits:
        yield System(exits)


class Site(Stack):
    """A stack of the system: a vhost of its own with its firehose; all share the database."""

    def __init__(self, system: System, name: str, provider: SandboxProcess | None = None) -> None:
        """Make the vhost; without a provider it shares the sandbox of all."""
        self.system, self.name = system, name
        vhost = system.broker.create_vhost(name)
        super().__init__(vhost, system.database_url, provider or system.polite)
        self.environment |= {
            **_SHORT_TIMES,
            "LOG_LEVEL": "debug",
            "HTTP_HOST": "127.0.0.1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": system.collector_url,
        }
        system.sites.append(self)
        system.broker_pages.trace(name)
        declare.apply(vhost, topology((1,), 14))
        self.firehose = Firehose(self.amqp_url)

    def launch(self, *program: str, **settings: str) -> Job:
        """Start a worker, by the command or by a program of the tests, and wait for nothing."""
        port = str(self.system.watch.scraped_port())
        environment = {**self.environment, "HTTP_PORT": port, **settings}
        command = [*PYTHON, *program] if program else [*COMMAND, "run"]
        return self.system.run("worker", command, environment)

    def start(self, **settings: str) -> Job:
        """Start a worker and wait until it consumes."""
        job = self.launch(**settings)
        eventually(lambda: job.said('"amqp.consuming"'))
        return job
