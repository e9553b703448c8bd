"""Commands forked from a process that has loaded the worker: its imports take half a second each.

    python -m tests.e2e.forks <descriptor of a Unix socket>

It gets orders from the tests over the socket, and ends with them. Each process that it forks has a
watcher that tells its number and, in the end, its exit code; all of them die with their parents.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

from local_process import tied

_CHECKOUT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1


@cache
def _server() -> socket.socket:
    """Start it, once, and end it with us; return our end of the socket."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        started = subprocess.Popen(
            tied([sys.executable, "-m", "tests.e2e.forks", str(its.fileno())]),
            cwd=_CHECKOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        started.wait()

    atexit.register(end)
    return ours


class Forked:
    """A process with what tests use of a `subprocess.Popen`."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Run a module with these arguments, as `python -m` does, in this whole environment."""
        said, writing = os.pipe()
        self._told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        order = json.dumps([module, list(arguments), dict(environment)]).encode()
        with telling:
            socket.send_fds(_server(), [order], [writing, telling.fileno()])
        os.close(writing)
        self.stderr = os.fdopen(said, encoding="utf-8", errors="replace")
        self.pid = int(self._told.recv(20))
        self._code: int | None = None

    def poll(self, seconds: float = 0.0) -> int | None:
        """Return the exit code once it has ended; wait so long for that at most."""
        if self._code is None and select.select([self._told], [], [], seconds)[0]:
            with self._told:
                self._code = int(self._told.recv(20) or -signal.SIGKILL)
        return self._code

    def wait(self, timeout: float) -> int:
        """Return the exit code. Raises TimeoutExpired."""
        if (code := self.poll(timeout)) is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9."""
        self.send_signal(signal.SIGKILL)


# The other side


def _serve(orders: socket.socket) -> None:
    import worker.bootstrap  # noqa: F401
    from worker.cli.app import application

    application()
    watchers = set()
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, 1 << 20, 2)
        if not order:
            return
        if (watcher := os.fork()) == 0:
            orders.close()
            _watch(order, *descriptors)
        for each in descriptors:
            os.close(each)
        watchers.add(watcher)
        watchers -= {each for each in watchers if os.waitpid(each, os.WNOHANG)[0]}


def _watch(order: bytes, said: int, told: int) -> NoReturn:
    _die_with_parent()
    if (child := os.fork()) == 0:
        os.close(told)
        _run(order, said)
    os.close(said)
    telling = socket.socket(fileno=told)
    telling.send(str(child).encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    telling.send(str(code).encode())
    os._exit(0)


def _run(order: bytes, said: int) -> NoReturn:
    _die_with_parent()
    module, arguments, environment = json.loads(order)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8")
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
