"""What a contestant costs: processor time and memory of a process with all its children."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from local_process import Process
from local_workspace import Workspace
from tests.e2e.harness import CHECKOUT


class ProcessTree(Process):
    """A command whose children are its own wherever they are, with the modules of a checkout."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        workspace: Workspace,
        checkout: Path = CHECKOUT,
    ) -> None:
        whole = {**os.environ, **environment, "PYTHONPATH": str(checkout)}
        super().__init__("contestant", command, workspace=workspace, environment=whole)

    def pss(self) -> int:
        """Return its proportional set size in bytes: shared pages count once."""
        return sum(each.memory_full_info().pss for each in _family(self.pid))

    def open_files(self) -> int:
        """Return how many file descriptors it has open."""
        return sum(each.num_fds() for each in _family(self.pid))

    def threads(self) -> int:
        """Return how many threads it has."""
        return sum(each.num_threads() for each in _family(self.pid))


def cpu_seconds(pid: int) -> float:
    """Return user + system seconds so far of a process and its children, of ended ones too."""
    seconds = 0.0
    for each in _family(pid):
        with suppress(psutil.NoSuchProcess):
            # User, system, and both of children that have ended.
            seconds += sum(each.cpu_times()[:4])
    return seconds


def _family(pid: int) -> list[psutil.Process]:
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


class Stopwatch:
    """Counts what happens between two looks at a contestant."""

    def __init__(self, tree: ProcessTree, done: int) -> None:
        self._tree = tree
        self._done = done
        self._cpu = cpu_seconds(tree.pid)
        self._started = time.monotonic()

    def rate(self, done: int) -> float:
        """Return messages per second since the first look."""
        return (done - self._done) / (time.monotonic() - self._started)

    def cpu_per_1000(self, done: int) -> float:
        """Return CPU seconds per 1,000 messages since the first look."""
        return (cpu_seconds(self._tree.pid) - self._cpu) / (done - self._done) * 1000
