"""Processes that never outlive who asked for them, in directories that go with them."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil

from local_errors import StackError, StartFailed
from local_ports import free_ports, is_taken

# A start takes 1 to 7 s; a busy machine with two cores has needed 20, and may need far more.
START_SECONDS = 180.0

# An orderly stop takes 1 to 6 s; what takes longer than this hangs.
STOP_SECONDS = 60.0

# SIGKILL is only as quick as the kernel's tear-down of the memory; far below a second in practice.
_KILL_SECONDS = 60.0

# Short against the fastest start (0.1 s), and 50 looks a second cost nothing.
_LOOK_EVERY = 0.02

_TAIL_LINES = 20

# The servers of one test process reach 0.4 GB; Docker gives a container 64 MB.
_ROOM_IN_MEMORY = 2 << 30

# Names the workspace in the environment of all that runs in it, and of what that has started.
_MARK = "LOCAL_WORKSPACE"

# Waits for our end at a pipe that only we hold open, ends what still bears the mark (a frozen
# process would not hear it) and removes the directory, again where something was still writing.
# SIGKILL comes after 8 s: a killed PostgreSQL would leave shared memory behind, and it takes 5 s
# to end its frozen children.
_GUARD = f"""
trap '' INT TERM HUP
while read -r line; do :; done
for round in $(seq 300); do
  [ "$round" -le 40 ] && ending=QUIT || ending=KILL
  left=$(grep -lsF "{_MARK}=$1" /proc/[0-9]*/environ | cut -d/ -f3)
  for pid in $left; do kill -CONT "$pid"; kill -"$ending" "$pid"; done
  rm -rf "$1" && [ -z "$left" ] && break
  sleep 0.2
done
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
    return [setpriv, "--pdeathsig", ending.name, "--", *command]


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a program to its end and return what it prints. Raises StackError with its last words."""
    try:
        done = subprocess.run(
            tied(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise StackError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        words = " ".join((Path(command[0]).name, *command[1:3]))
        raise StackError("\n".join((f"{words} ended with code {done.returncode}:", *said)))
    return done.stdout


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

    def __init__(self, name: str, *, lasting: bool = True, ports: int = 0) -> None:
        """Make the directory: on a disk, or in memory where it need not be `lasting`.

        So many `ports` are kept for what will run in it.
        """
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
        self.ports = free_ports(ports, self.exits)


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
    ) -> None:
        """Start it; `ending` is what it gets when we end without having stopped it."""
        self.name = name
        self._ending = ending
        self._log = workspace.directory / f"{name.lower()}.log"
        with self._log.open("ab") as log:
            self._log_start = log.tell()  # an earlier run's lines are not this one's
            self._child = subprocess.Popen(
                tied(command, ending),
                cwd=workspace.directory,
                env={**environment, _MARK: str(workspace.directory)},
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
        workspace.exits.callback(self.end)

    @property
    def exit_code(self) -> int | None:
        """The code that it ended with; None while it runs."""
        return self._child.poll()

    def is_alive(self) -> bool:
        """Tell whether the server has not ended."""
        return self.exit_code is None

    def log(self) -> str:
        """Return all that this run of the server has written."""
        return self._log.read_bytes()[self._log_start :].decode(errors="replace")

    def log_tail(self) -> str:
        """Return the last lines that this run of the server wrote."""
        return "\n".join(self.log().rstrip().splitlines()[-_TAIL_LINES:])

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return once the server is ready. Raises StartFailed if it ends or stays silent."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if not self.is_alive():
                why = f"ended with code {self.exit_code} instead of starting"
                raise StartFailed(self.name, why, self.log_tail())
            if time.monotonic() > deadline:
                self.kill()
                why = f"was not ready after {START_SECONDS:.0f} s"
                raise StartFailed(self.name, why, self.log_tail())
            time.sleep(_LOOK_EVERY)

    def wait(self) -> None:
        """Return once it has done what it was started for. Raises StartFailed if it has not."""
        self._child.wait(START_SECONDS)
        if self.exit_code != 0:
            raise StartFailed(self.name, f"ended with code {self.exit_code}", self.log_tail())

    def stop(self, polite: signal.Signals = signal.SIGTERM) -> None:
        """End the server in its own orderly way; kill it if that takes too long."""
        try:
            if self.is_alive():
                self.resume()  # a frozen process would never read the signal
                os.kill(self.pid, polite)
                with suppress(subprocess.TimeoutExpired):
                    self._child.wait(STOP_SECONDS)
        finally:  # also when a second Ctrl-C interrupts the wait
            self.kill()

    def kill(self) -> None:
        """Kill -9 the server and all its children, and return when they are gone."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGSTOP)  # frozen, it starts no successor for a killed child
            family = self._signal_family(signal.SIGKILL)
            self._child.wait()
            deadline = time.monotonic() + _KILL_SECONDS
            while any(map(is_running, family)) and time.monotonic() < deadline:
                time.sleep(0.005)

    def end(self) -> None:
        """End the server in the quickest way: nobody needs its data any more."""
        if self._ending == signal.SIGKILL:
            self.kill()
        else:
            self.stop(self._ending)

    def pause(self) -> None:
        """Freeze the server and its children: connections stay open, nothing answers."""
        self._signal_family(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal_family(signal.SIGCONT)

    def _signal_family(self, number: signal.Signals) -> list[psutil.Process]:
        """Send a signal to the server and its children, and return them."""
        server = psutil.Process(self.pid)
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return family


class PrivateServer(Lifetime):
    """A server of ours, to mistreat: `start()` after `kill()` finds the same ports and data."""

    private = True
    name: str
    ports = 1

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self.process: Process
        self._workspace: Workspace | None = None

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
    def port(self) -> int:
        """Where its clients find it."""
        return self.workspace.ports[0]

    @abstractmethod
    def _prepare(self) -> None:
        """Write what it needs into its new directory."""

    @abstractmethod
    def _started(self) -> Process:
        """Start its process."""

    @abstractmethod
    def _answers(self) -> bool:
        """Tell whether it can be used."""

    def launch(self) -> None:
        """Start it without waiting for it. Raises MissingProgram and StartFailed."""
        if self._workspace is None:
            name = self.name.lower()
            self._workspace = Workspace(name, lasting=self.durable, ports=self.ports)
            self._prepare()
        elif is_taken(self.port):  # a stranger's handshake would pass for ours
            raise StartFailed(self.name, f"finds its port {self.port} taken", "")
        self.process = self._started()

    def wait_ready(self) -> None:
        """Return when the launched server answers."""
        self.process.wait_until(self._answers)

    def start(self) -> None:
        """Start it; return when it answers."""
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        """Kill -9 the server with all its children; the data stay for another `start()`."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        """Let a frozen server go on."""
        self.process.resume()

    def close(self) -> None:
        """End the server in the quickest way and remove its data. May be called twice."""
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None


def is_running(process: psutil.Process) -> bool:
    """Tell whether a process has not ended, whoever may have to read its exit code."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # which holds no port and no file any more
    except psutil.NoSuchProcess:
        return False


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
