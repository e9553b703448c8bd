"""A private directory whose servers never outlive the process that asked for them.

The guard is a small process of its own. It waits at the end of a pipe that only we hold open: when
we end, however we end (kill -9 included), the kernel closes the pipe, and the guard kills the
servers and removes their directory. PR_SET_PDEATHSIG was weighed and left: it fires when the
*thread* that started a server ends, knows nothing of a server's children, and leaves the directory.

Run as a program, this file is the guard.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

# SIGKILL is only as quick as the kernel's tear-down of the memory; far below a second in practice.
_KILL_SECONDS = 10.0

# A server that wants to put something away takes 0.1 s; its orderly end is of no use to anybody.
_FAREWELL_SECONDS = 5.0

# The servers of one test process reach 0.4 GB; Docker gives a container 64 MB.
_ROOM_IN_MEMORY = 2 << 30


class Workspace:
    """A directory outside the checkout, and the guard over it; removed by `close()`."""

    def __init__(self, name: str, *, lasting: bool = True) -> None:
        """Make the directory: on a disk, or in memory where it need not be `lasting`."""
        base = _base() if lasting else _base_in_memory() or _base()
        self.directory = Path(tempfile.mkdtemp(prefix=f"verification-{name}-", dir=base))
        # Others may pass through (PostgreSQL runs under its own user when we are root), not list.
        self.directory.chmod(0o711)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(self.directory)],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is not for the guard
        )

    def watch(self, pid: int, farewell: signal.Signals = signal.SIGKILL) -> None:
        """Have the guard end this server when we are gone, by `farewell` first."""
        self._tell(f"+ {pid} {farewell.value}")

    def forget(self, pid: int) -> None:
        """Tell the guard that this server has ended: its number may soon be somebody else's."""
        self._tell(f"- {pid} 0")

    def close(self) -> None:
        """End what is still watched and remove the directory. May be called twice."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._guard.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _tell(self, line: str) -> None:
        if self._guard.stdin is None or self._guard.stdin.closed:
            return
        try:
            self._guard.stdin.write(f"{line}\n")
            self._guard.stdin.flush()
        except BrokenPipeError:  # somebody killed the guard: the orderly stop still works
            return


def kill_tree(pid: int) -> None:
    """Kill a server with all its descendants at once, as a power cut would, and wait for them.

    The server itself is still to be reaped by its parent. Descendants are found in /proc, because
    PostgreSQL's leave their parent's process group; without /proc only the group is killed.
    """
    _signal(pid, signal.SIGSTOP)  # a frozen parent starts no successor for a child that is killed
    family = [pid, *descendants(pid)]
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for member in family:
        _signal(member, signal.SIGKILL)
    _wait_for(family, _KILL_SECONDS)


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name, which may hold anything) state ppid ..."
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it ended while we looked
            continue
        children.setdefault(parent, []).append(int(entry.parent.name))
    found = list(children.get(pid, []))
    for child in found:  # grows while it is walked
        found.extend(children.get(child, []))
    return found


def _wait_for(pids: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(_is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.005)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"  # a zombie holds no port and no file any more


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


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


def _guard(directory: str) -> None:
    """Wait for our parent's end; then end what it left and remove the directory."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its parent, not before
    watched: dict[int, int] = {}
    for line in sys.stdin:
        sign, pid, farewell = line.split()
        if sign == "+":
            watched[int(pid)] = int(farewell)
        else:
            watched.pop(int(pid), None)
    for pid, last in watched.items():
        if last != signal.SIGKILL:  # else its children would be orphans that nobody finds
            _signal(pid, signal.SIGCONT)  # a frozen one would not hear the farewell
            _signal(pid, signal.Signals(last))
            _wait_for([pid], _FAREWELL_SECONDS)
        kill_tree(pid)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.argv[1])
