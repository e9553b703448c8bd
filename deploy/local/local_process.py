"""Processes that never outlive who asked for them, in directories that go with them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from local_errors import StackError, StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

# A start takes 1 to 7 s; a busy machine with two cores has needed 20.
START_SECONDS = 90.0

# An orderly stop takes 1 s; what takes longer than this hangs.
STOP_SECONDS = 20.0

# SIGKILL is only as quick as the kernel's tear-down of the memory; far below a second in practice.
_KILL_SECONDS = 10.0

# Short against the fastest start (0.1 s), and 50 looks a second cost nothing.
_LOOK_EVERY = 0.02

_TAIL_LINES = 20

# RabbitMQ writes its reason in the seven lines after "BOOT FAILED", in the same moment.
_LINES_AFTER_LAST_WORDS = 8
_TELL_SECONDS = 0.2

# The servers of one test process reach 0.4 GB; Docker gives a container 64 MB.
_ROOM_IN_MEMORY = 2 << 30

# Waits for our end at a pipe that only we hold open, ends what is still watched (a frozen process
# would not hear it) and removes the directory, again where something was still writing.
_GUARD = """
trap '' INT TERM HUP
while read -r line; do :; done
while read -r ending pid; do kill -CONT "$pid"; kill -"$ending" "$pid"; done <"$1/watched"
for try in 1 2 3 4 5 6 7 8 9; do rm -rf "$1" && break; sleep 0.2; done
"""


def tied(command: Sequence[str], ending: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return the command so that its process gets `ending` when its starter ends, kill -9 included.

    The process itself is tied, under the same number; what it starts is not. Linux watches the
    *thread* that starts a process, and threads end early: from any but the main thread the command
    comes back as it is, and so it does on systems without util-linux's setpriv.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return list(command)
    return [setpriv, "--pdeathsig", _short(ending), "--", *command]


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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Workspace:
    """A directory outside the checkout, removed by `close()`, or by its guard if we are killed.

    The guard also ends what `tied` cannot: a frozen server, or any where setpriv is missing.
    """

    def __init__(self, name: str, *, lasting: bool = True) -> None:
        """Make the directory: on a disk, or in memory where it need not be `lasting`."""
        base = _base() if lasting else _base_in_memory() or _base()
        self.directory = Path(tempfile.mkdtemp(prefix=f"verification-{name}-", dir=base))
        # Others may pass through (PostgreSQL runs under its own user when we are root), not list.
        self.directory.chmod(0o711)
        self._watched: dict[int, signal.Signals] = {}
        self._write()
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "verification-guard", str(self.directory)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the terminal is not for the guard
        )

    def watch(self, pid: int, ending: signal.Signals = signal.SIGKILL) -> None:
        """Have the guard send `ending` to this process when we are gone."""
        self._watched[pid] = ending
        self._write()

    def forget(self, pid: int) -> None:
        """Tell the guard that this process has ended: its number may soon be somebody else's."""
        if self._watched.pop(pid, None) is not None and self.directory.exists():
            self._write()

    def close(self) -> None:
        """End what is still watched and remove the directory. May be called twice."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()
        shutil.rmtree(self.directory, ignore_errors=True)  # somebody may have killed the guard

    def _write(self) -> None:
        lines = (f"{_short(ending)} {pid}\n" for pid, ending in self._watched.items())
        (self.directory / "watched").write_text("".join(lines))


class Process:
    """A process in a session of its own, logged to a file of the workspace, from start to end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        workspace: Workspace,
        environment: Mapping[str, str],
        user: str | None = None,
        ending: signal.Signals = signal.SIGKILL,
        last_words: str | None = None,
    ) -> None:
        """Start it. `last_words` are what it writes when it gives up, long before it ends.

        `ending` is what it gets when we end without having stopped it.
        """
        self.name = name
        self._last_words = last_words
        self._workspace = workspace
        self._log = workspace.directory / f"{name.lower()}.log"
        with self._log.open("ab") as log:
            self._log_start = log.tell()  # an earlier run's lines are not this one's
            self._child = subprocess.Popen(
                tied(command, ending),
                cwd=workspace.directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop the server in our order
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        self.pid = self._child.pid
        """The server's own process number (no shell and no `runuser` in between)."""
        workspace.watch(self.pid, ending)

    @property
    def exit_code(self) -> int | None:
        """The code that it ended with; None while it runs."""
        return self._child.poll()

    def is_alive(self) -> bool:
        """Tell whether the server has not ended."""
        if self.exit_code is None:
            return True
        self._workspace.forget(self.pid)
        return False

    def log(self) -> str:
        """Return all that this run of the server has written."""
        return self._log.read_bytes()[self._log_start :].decode(errors="replace")

    def log_tail(self) -> str:
        """Return the last lines that this run of the server wrote."""
        lines = self.log().rstrip().splitlines()
        for number, line in enumerate(lines):
            # The reason stands around the last words; a screenful of stack traces follows it.
            if self._last_words is not None and self._last_words in line:
                lines = lines[: number + _LINES_AFTER_LAST_WORDS]
                break
        return "\n".join(lines[-_TAIL_LINES:])

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return once the server is ready. Raises StartFailed if it ends or stays silent."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if not self.is_alive():
                why = f"ended with code {self.exit_code} instead of starting"
            elif self._last_words is not None and self._last_words in self.log():
                time.sleep(_TELL_SECONDS)
                why = "gave up starting"
            elif time.monotonic() > deadline:
                why = f"was not ready after {START_SECONDS:.0f} s"
            else:
                time.sleep(_LOOK_EVERY)
                continue
            self.kill()
            raise StartFailed(self.name, why, self.log_tail())

    def stop(self, polite: signal.Signals = signal.SIGTERM) -> None:
        """End the server in its own orderly way; kill it if that takes too long."""
        try:
            if self.is_alive():
                self.resume()  # a frozen process would never read the signal
                os.kill(self.pid, polite)
                self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when a second Ctrl-C interrupts the wait
            self.kill()

    def kill(self) -> None:
        """Kill -9 the server and all its children, and return when they are gone."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGSTOP)  # frozen, it starts no successor for a killed child
            children = psutil.Process(self.pid).children(recursive=True)
            self._child.kill()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            self._child.wait()
            _wait_for(children)
        self._workspace.forget(self.pid)

    def pause(self) -> None:
        """Freeze the server and its children: connections stay open, nothing answers."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let a frozen server go on."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _family(self) -> list[psutil.Process]:
        server = psutil.Process(self.pid)
        return [server, *server.children(recursive=True)]


class PrivateServer(Lifetime):
    """What broker and database have in common: a process and a directory, ours to mistreat."""

    private = True
    name: str

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self._workspace: Workspace | None = None
        self._process: Process | None = None

    @property
    def directory(self) -> Path:
        """Where data and logs are, from the first start until `close()`."""
        if self._workspace is None:
            raise StackError(f"{self.name} has not been started")
        return self._workspace.directory

    @property
    def pid(self) -> int:
        """The server's process number, which is its session's too."""
        return self._running().pid

    def kill(self) -> None:
        """Kill -9 the server with all its children; the data stay for another `start()`."""
        self._running().kill()

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._running().resume()

    def _running(self) -> Process:
        if self._process is None:
            raise StackError(f"{self.name} has not been started")
        return self._process


def _wait_for(processes: Sequence[psutil.Process]) -> None:
    deadline = time.monotonic() + _KILL_SECONDS
    while any(_is_running(each) for each in processes) and time.monotonic() < deadline:
        time.sleep(0.005)


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # which holds no port and no file any more
    except psutil.NoSuchProcess:
        return False


def _short(number: signal.Signals) -> str:
    return number.name.removeprefix("SIG")


def _base() -> str:
    """Return a directory for temporary files that a second user can get into.

    TMPDIR may lie in somebody's home with mode 0700: as root we then use /tmp, or PostgreSQL's
    user could not reach its own data.
    """
    wanted = Path(tempfile.gettempdir()).resolve()
    reachable = all(place.stat().st_mode & 0o001 for place in (wanted, *wanted.parents))
    return str(wanted) if reachable or os.geteuid() != 0 else "/tmp"  # noqa: S108 (mkdtemp within)


def _base_in_memory() -> str | None:
    """Return the place of shared memory where it has room for both servers; None elsewhere."""
    place = Path("/dev/shm")  # noqa: S108 (mkdtemp within)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return None
    return str(place) if shutil.disk_usage(place).free >= _ROOM_IN_MEMORY else None
