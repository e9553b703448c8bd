"""What a contestant costs: processor time and memory of a process with all its children."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.e2e.harness import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")
_PSS = re.compile(r"^Pss:\s+([0-9]+) kB", re.MULTILINE)


class ProcessTree:
    """A command in a session of its own, so that its children are found whoever their parent is."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                list(command),
                env={**os.environ, **environment},
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._log = log

    def is_alive(self) -> bool:
        """Tell whether it has not ended by itself."""
        return self._popen.poll() is None

    def last_words(self) -> str:
        """Return the end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]

    def cpu_seconds(self) -> float:
        """Return user + system seconds so far, those of ended children too."""
        return _cpu_seconds(self._stats())

    def pss(self) -> int:
        """Return its proportional set size in bytes: shared pages count once."""
        return sum(_pss(pid) for pid in self._stats())

    def open_files(self) -> int:
        """Return how many file descriptors it has open."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self._stats())

    def threads(self) -> int:
        """Return how many threads it has."""
        return sum(int(fields[17]) for fields in self._stats().values())

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM to the first process; return its exit code, and leave none of them behind."""
        self._popen.terminate()
        try:
            return self._popen.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill -9 whatever is left."""
        for pid in self._stats():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.is_alive():
            self._popen.kill()
        self._popen.wait()

    def _stats(self) -> dict[int, list[str]]:
        session = str(self._popen.pid)
        everybody = _all_stats().items()
        return {pid: each for pid, each in everybody if each[3] == session and each[0] != "Z"}


def server_cpu_seconds(pid: int) -> float:
    """Return user + system seconds of a server and its children, wherever their session is."""
    family = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return _cpu_seconds({each: stats for each, stats in _all_stats().items() if each in family})


def _cpu_seconds(stats: Mapping[int, list[str]]) -> float:
    """Add up user and system seconds, those of ended children too."""
    return sum(sum(map(int, fields[11:15])) for fields in stats.values()) / _TICKS


def _all_stats() -> dict[int, list[str]]:
    """Return what /proc says of each process, from its state on."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _pss(pid: int) -> int:
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0


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
