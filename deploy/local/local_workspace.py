"""Directories that go with what runs in them, and private servers, each in one of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from local_errors import StackError, StartFailed
from local_ports import is_taken
from local_process import MARK

if TYPE_CHECKING:
    from typing import Self

    from local_process import Process

# The servers of one test process reach 0.4 GB; Docker gives a container 64 MB.
_ROOM_IN_MEMORY = 2 << 30

# A port found free may be taken a moment later. Once is an accident; four times is something else.
_STARTS = 4

# Waits for our end at a pipe that only we hold open, ends what still bears the mark (a frozen
# process would not hear it) and removes the directory, again where something was still writing.
# SIGKILL comes after 8 s: a killed PostgreSQL would leave shared memory behind, and it takes 5 s
# to end its frozen children.
_GUARD = f"""
trap '' INT TERM HUP
while read -r line; do :; done
for round in $(seq 50); do
  [ "$round" -le 40 ] && ending=QUIT || ending=KILL
  left=$(grep -lsF "{MARK}=$1" /proc/[0-9]*/environ | cut -d/ -f3)
  for pid in $left; do kill -CONT "$pid"; kill -"$ending" "$pid"; done
  rm -rf "$1" && [ -z "$left" ] && break
  sleep 0.2
done
"""


class Lifetime(ABC):
    """Started by `with`, and closed however the block ends; what fails to start is closed, too."""

    @abstractmethod
    def start(self) -> None:
        """Start it; return when it can be used."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove its data."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Workspace:
    """A directory outside the checkout, and what runs in it; both end with `close()`.

    If we are killed, its guard removes it and ends what `tied` cannot: a frozen server, what a
    server has started, or any process where setpriv is missing.
    """

    def __init__(self, name: str, *, lasting: bool = True) -> None:
        """Make the directory: on a disk, or in memory where it need not be `lasting`."""
        base = _base(lasting=lasting)
        self.directory = Path(tempfile.mkdtemp(prefix=f"verification-{name}-", dir=base))
        # Others may pass through (PostgreSQL runs under its own user when we are root), not list.
        self.directory.chmod(0o711)
        guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "verification-guard", str(self.directory)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the terminal is not for the guard
        )
        self.exits = ExitStack()
        """What `close()` does, the last first. May be closed twice."""
        self.close = self.exits.close
        # Somebody may have killed the guard.
        self.exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.exits.callback(guard.communicate)


class PrivateServer(Lifetime):
    """A server of ours, to mistreat: `start()` after `kill()` finds the same port and data."""

    private = True
    name: str

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self._workspace: Workspace | None = None
        self._process: Process | None = None
        self._has_run = False

    @property
    def workspace(self) -> Workspace:
        """Where it runs, from the first start until `close()`."""
        if self._workspace is None:
            raise StackError(f"{self.name} has not been started")
        return self._workspace

    @property
    def directory(self) -> Path:
        """Where data and logs are."""
        return self.workspace.directory

    @property
    def pid(self) -> int:
        """The server's process number, which is its session's too."""
        return self._running().pid

    @abstractmethod
    def launch(self) -> None:
        """Start it without waiting for it. Raises MissingProgram."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether it can be used."""

    def _has_collided(self, failure: StartFailed) -> bool:
        """Return whether it has not started because of its port, in the system's words."""
        return "in use" in failure.log_tail

    def start(self) -> None:
        """Start it; return when it answers."""
        self.launch()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the launched server answers; a new one goes round a port that is taken."""
        for attempt in range(1, _STARTS + 1):
            try:
                self._running().wait_until(self._answers)
            except StartFailed as failure:
                # One that has run must come back where its clients look for it.
                if self._has_run or attempt == _STARTS or not self._has_collided(failure):
                    raise
                self.close()
                self.launch()
            else:
                self._has_run = True
                return

    def _refuse_taken(self, port: int) -> None:
        """Raise StartFailed where its port is taken: a stranger's handshake would pass for ours."""
        if self._has_run and is_taken(port):
            raise StartFailed(self.name, f"finds its port {port} taken", "")

    def kill(self) -> None:
        """Kill -9 the server with all its children; the data stay for another `start()`."""
        self._running().kill()

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._running().resume()

    def close(self) -> None:
        """End the server in the quickest way and remove its data. May be called twice."""
        workspace, self._workspace = self._workspace, None
        self._process, self._has_run = None, False
        if workspace is not None:
            workspace.close()

    def _running(self) -> Process:
        if self._process is None:
            raise StackError(f"{self.name} has not been started")
        return self._process


def _base(*, lasting: bool) -> str:
    """Return a directory for temporary files that a second user can get into.

    It is in memory where they need not be `lasting` and it has room for both servers. TMPDIR may
    lie in somebody's home with mode 0700: as root we then use /tmp, or PostgreSQL's user could not
    reach its own data.
    """
    memory = "/dev/shm"  # noqa: S108 (mkdtemp within)
    is_ours = not lasting and os.access(memory, os.W_OK | os.X_OK)
    if is_ours and shutil.disk_usage(memory).free >= _ROOM_IN_MEMORY:
        return memory
    wanted = Path(tempfile.gettempdir()).resolve()
    reachable = all(place.stat().st_mode & 0o001 for place in (wanted, *wanted.parents))
    return str(wanted) if reachable or os.geteuid() != 0 else "/tmp"  # noqa: S108 (mkdtemp within)
