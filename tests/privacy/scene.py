"""What the proof runs on: servers that tell as much as they can, and processes that leave files.

given/   what people hand over: requests as files. Not searched.
logs/    standard output and error of every process
left/    every process's working directory, its TMPDIR and its HOME
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

from local_broker import Broker
from local_database import Database
from local_process import Workspace
from tests.e2e.harness import CHECKOUT, COMMAND, SandboxProcess, Stack, until
from tests.privacy.canaries import Aviary
from tests.privacy.tracing import Firehose, Manager
from tests.privacy.watching import Collector, Watch

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

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

PROGRAM = [sys.executable, "-m"]

# Seconds; a dozen processes that start at once on a busy machine have needed 60.
PATIENCE = 120.0
soon = partial(until, seconds=PATIENCE)


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
        self.popen.wait(10.0)

    def end_within(self, seconds: float) -> None:
        """Wait for its end, and kill it where that does not come."""
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self) -> int:
        """SIGTERM; return the exit code, and where it failed print what was said last."""
        self.popen.terminate()
        code = self.popen.wait(PATIENCE)
        if code:
            print(self.err.name, *self.err.read_text(errors="replace").splitlines()[-5:], sep="\n")
        return code


class Scene:
    """The servers, the watch over them, and every process that was started."""

    def __init__(self) -> None:
        self.aviary = Aviary()
        self.broker = Broker(configuration="log.console.level = debug\n")
        self.database = Database(_TELLING_ALL)
        self.collector = Collector()
        self.jobs: list[Job] = []
        self.grounds: list[Ground] = []
        self.firehoses: list[Firehose] = []
        self._numbers = count(1)
        self._lock = Lock()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            workspace = Workspace("privacy")
            opening.callback(workspace.close)
            self.root = workspace.directory
            for name in ("given", "logs", "left", "left/tmp", "left/home"):
                (self.root / name).mkdir()
            opening.callback(self.broker.close)
            self.broker.launch()
            opening.enter_context(self.database)
            self._migrate()
            opening.enter_context(self.collector)
            self.broker.wait_ready()
            self.manager = Manager(self.broker.management_url)
            self.watch = opening.enter_context(Watch(self.database_url))
            opening.callback(self._end)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def _migrate(self) -> None:
        self.database_url = self.database.create_database("verification")
        done = subprocess.run(
            [*PROGRAM, "alembic", "upgrade", "head"],
            cwd=CHECKOUT,
            env={**os.environ, "DATABASE_URL": self.database_url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _end(self) -> None:
        for ground in self.grounds:
            ground.close()
        for job in self.jobs:
            if job.popen.poll() is None:
                job.kill()

    def run(self, name: str, command: list[str], settings: dict[str, str], given: str = "") -> Job:
        """Start a process; its files in logs/ bear its name and a number."""
        with self._lock:
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
        self.watch.process(popen.pid)
        assert popen.stdin is not None
        popen.stdin.write(given.encode())
        popen.stdin.close()
        job = Job(popen, out, err)
        self.jobs.append(job)
        return job

    def sandbox(self) -> SandboxProcess:
        """Start a sandbox."""
        command = [*COMMAND, "sandbox", "--port", "0"]
        job = self.run("sandbox", command, {})
        line = soon(lambda: job.said("listening on"))
        url = next(word for word in line.split() if word.startswith("http://"))
        return SandboxProcess(job, url)  # type: ignore[arg-type]  # only its address is used

    def ground(self, name: str, provider: str) -> Ground:
        """Give a vhost of this name, with its topology and its firehose."""
        return Ground(self, name, provider)


class Ground(Stack):
    """A stack of the scene: a vhost of its own, the database that all share."""

    def __init__(self, scene: Scene, name: str, provider: str) -> None:
        self.scene, self.name = scene, name
        url = scene.broker.create_vhost(name)
        super().__init__(url, scene.database_url, SandboxProcess(None, provider))  # type: ignore[arg-type]
        self.environment |= {
            "RETRY_DELAYS": "1s",
            "CALL_DEADLINE": "1",
            "CONNECT_TIMEOUT": "0.5",
            "LEASE_MARGIN": "0.5",
            "PROBE_SECONDS": "0.3",
            "SHUTDOWN_GRACE": "10",
            "LOG_LEVEL": "debug",
            "HTTP_HOST": "127.0.0.1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": scene.collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        scene.grounds.append(self)
        scene.manager.trace(name)
        assert self.order("topology", "apply").popen.returncode == 0
        scene.firehoses.append(Firehose(url))

    def work(self, *program: str, **settings: str) -> Job:
        """Start a worker, by the command or by a program of the tests, and wait for nothing."""
        port = str(self.scene.watch.scraped_port())
        environment = {**self.environment, "HTTP_PORT": port, **settings}
        command = [*PROGRAM, *program] if program else [*COMMAND, "run"]
        return self.scene.run("worker", command, environment)

    def start(self, **settings: str) -> Job:
        """Start a worker and wait until it consumes."""
        job = self.work(**settings)
        soon(lambda: job.said("amqp.consuming"))
        return job

    def order(self, *arguments: str, given: str = "", **settings: str) -> Job:
        """Run a command to its end."""
        environment = {**self.environment, **settings}
        job = self.scene.run("command", [*COMMAND, *arguments], environment, given)
        job.popen.wait(PATIENCE)
        return job

    def send(self, *messages: Any) -> None:
        """Publish `Message`s."""
        for message in messages:
            self.publish(message.body, **message.properties)
