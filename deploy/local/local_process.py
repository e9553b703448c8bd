"""Processes that never outlive who asked for them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from local_errors import StackError, StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local_workspace import Workspace

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

# Names the workspace in the environment of all that runs in it, and of what that has started.
MARK = "LOCAL_WORKSPACE"


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
        self._ending = ending
        self._log = workspace.directory / f"{name.lower()}.log"
        with self._log.open("ab") as log:
            self._log_start = log.tell()  # an earlier run's lines are not this one's
            self._child = subprocess.Popen(
                tied(command, ending),
                cwd=workspace.directory,
                env={**environment, MARK: str(workspace.directory)},
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
        """Return whether the server has not ended."""
        return self.exit_code is None

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
                self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
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


def is_running(process: psutil.Process) -> bool:
    """Return whether a process has not ended, whoever may have to read its exit code."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # which holds no port and no file any more
    except psutil.NoSuchProcess:
        return False
