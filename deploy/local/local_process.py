"""One server process: started in its own session, logged to a file, watched by the guard."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from local_errors import StartFailed
from local_guard import descendants, kill_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local_guard import Workspace

# A start takes 1 to 7 s; a busy machine with two cores has needed 20.
START_SECONDS = 90.0

# An orderly stop takes 1 s; what takes longer than this hangs.
STOP_SECONDS = 20.0

# Short against the fastest start (0.1 s), and 50 looks a second cost nothing.
_LOOK_EVERY = 0.02

_TAIL_LINES = 20

# RabbitMQ writes its reason in the seven lines after "BOOT FAILED", in the same moment.
_LINES_AFTER_LAST_WORDS = 8
_TELL_SECONDS = 0.2


def tied(command: Sequence[str], ending: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return the command so that its process gets `ending` when its starter ends, kill -9 included.

    The process itself is tied, under the same number; what it starts is not. Linux watches the
    *thread* that starts a process, and threads end early: from any but the main thread the command
    comes back as it is, and so it does on systems without util-linux's setpriv.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return list(command)
    return [setpriv, "--pdeathsig", ending.name.removeprefix("SIG"), "--", *command]


class Process:
    """A server that is running, from its start to its end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        workspace: Workspace,
        environment: Mapping[str, str],
        user: str | None = None,
        farewell: signal.Signals = signal.SIGKILL,
        last_words: str | None = None,
    ) -> None:
        """Start it. `last_words` are what it writes when it gives up, long before it ends."""
        self.name = name
        self._last_words = last_words
        self._workspace = workspace
        self._log = workspace.directory / f"{name.lower()}.log"
        with self._log.open("ab") as log:
            self._log_start = log.tell()  # an earlier run's lines are not this one's
            self._child = subprocess.Popen(
                tied(command, farewell),
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
        workspace.watch(self._child.pid, farewell)

    @property
    def pid(self) -> int:
        """The server's own process number (no shell and no `runuser` in between)."""
        return self._child.pid

    def is_alive(self) -> bool:
        """Tell whether the server has not ended."""
        if self._child.poll() is None:
            return True
        self._workspace.forget(self.pid)
        return False

    def log_tail(self) -> str:
        """Return the last lines that this run of the server wrote."""
        lines = self._read_log().rstrip().splitlines()
        if self._last_words is not None:
            # The reason stands around the last words; a screenful of stack traces follows it.
            for number, line in enumerate(lines):
                if self._last_words in line:
                    lines = lines[: number + _LINES_AFTER_LAST_WORDS]
                    break
        return "\n".join(lines[-_TAIL_LINES:])

    def _read_log(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _has_given_up(self) -> bool:
        return self._last_words is not None and self._last_words in self._read_log()

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return once the server is ready. Raises StartFailed if it ends or stays silent."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if not self.is_alive():
                why = f"ended with code {self._child.returncode} instead of starting"
                raise StartFailed(self.name, why, self.log_tail())
            if self._has_given_up():
                time.sleep(_TELL_SECONDS)
                self.kill()
                raise StartFailed(self.name, "gave up starting", self.log_tail())
            if time.monotonic() > deadline:
                self.kill()
                why = f"was not ready after {START_SECONDS:.0f} s"
                raise StartFailed(self.name, why, self.log_tail())
            time.sleep(_LOOK_EVERY)

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
            kill_tree(self.pid)
            self._child.wait()
        self._workspace.forget(self.pid)

    def pause(self) -> None:
        """Freeze the server and its children: connections stay open, nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in (self.pid, *descendants(self.pid)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:  # a child ended meanwhile
                continue
