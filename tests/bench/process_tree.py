"""What a contestant costs: processor time and memory of a process with all its children."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.e2e.harness import CHECKOUT


class ProcessTree:
    """A command in a session of its own, so that its children are found whoever their parent is."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        checkout: Path = CHECKOUT,
    ) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                list(command),
                env={**os.environ, **environment},
                cwd=checkout,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._log = log

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._popen.pid

    def is_alive(self) -> bool:
        """Tell whether it has not ended by itself."""
        return self._popen.poll() is None

    def last_words(self) -> str:
        """Return the end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]

    def cpu_seconds(self) -> float:
        """Return user + system seconds so far, those of ended children too."""
        return _cpu_seconds(self._processes())

    def pss(self) -> int:
        """Return its proportional set size in bytes: shared pages count once."""
        return sum(each.memory_full_info().pss for each in self._processes())

    def open_files(self) -> int:
        """Return how many file descriptors it has open."""
        return sum(each.num_fds() for each in self._processes())

    def threads(self) -> int:
        """Return how many threads it has."""
        return sum(each.num_threads() for each in self._processes())

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM to the first process; return its exit code, and leave none of them behind."""
        self._popen.terminate()
        try:
            return self._popen.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill -9 whatever is left."""
        for each in self._processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._popen.wait()

    def _processes(self) -> list[psutil.Process]:
        found = []
        for each in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(each.pid) == self._popen.pid and each.status() != "zombie":
                    found.append(each)
        return found


def server_cpu_seconds(pid: int) -> float:
    """Return user + system seconds of a server and its children, wherever their session is."""
    server = psutil.Process(pid)
    return _cpu_seconds([server, *server.children(recursive=True)])


def _cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    seconds = 0.0
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            # User, system, and both of children that have ended.
            seconds += sum(each.cpu_times()[:4])
    return seconds


class Stopwatch:
    """Counts what happens between two looks at a contestant."""

    def __init__(self, tree: ProcessTree, done: int) -> None:
        self._tree = tree
        self._done = done
        self._cpu = tree.cpu_seconds()
        self._started = time.monotonic()

    def rate(self, done: int) -> float:
        """Return messages per second since the first look."""
        return (done - self._done) / (time.monotonic() - self._started)

    def cpu_per_1000(self, done: int) -> float:
        """Return CPU seconds per 1,000 messages since the first look."""
        return (self._tree.cpu_seconds() - self._cpu) / (done - self._done) * 1000
