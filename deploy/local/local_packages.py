"""The Debian packages that the local stack needs, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import local_programs
from local_errors import MissingProgram
from local_install import run_installer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Debian asks this program whether a package may start its service; 101 means no.
_POLICY = Path("/usr/sbin/policy-rc.d")

# 10 s on a quick line; a slow one gets its time.
_SECONDS = 900.0

# Processes that RabbitMQ's package may start all the same, and whose they are then. Whoever starts
# a private stack at this moment runs them as another user.
_SERVERS = frozenset({"beam.smp", "epmd"})
_OWNERS = frozenset({"rabbitmq", "epmd"})


def missing_packages(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the packages that the stack cannot start without.

    A server that AMQP_URL or DATABASE_URL names is not ours to install; psql still is.
    """
    given = os.environ if environment is None else environment
    missing = []
    if not given.get("AMQP_URL") and _lacks(local_programs.rabbitmq_server, local_programs.epmd):
        missing.append("rabbitmq-server")
    if _lacks(partial(local_programs.postgresql, "psql")):
        missing.append("postgresql-client")
    servers = (partial(local_programs.postgresql, program) for program in ("initdb", "postgres"))
    if not given.get("DATABASE_URL") and _lacks(*servers):
        missing.append("postgresql")
    return missing


def install_missing(
    environment: Mapping[str, str] | None = None, *, benchmark: bool = False
) -> None:
    """Install what is missing (as root, on Debian), or raise MissingProgram with the command."""
    missing = missing_packages(environment)
    if benchmark and _lacks(local_programs.nginx):
        missing.append("nginx-light")
    is_root = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if is_root and shutil.which("amqp-publish") is None:
        # The demonstration and the tests of the contract use it to be a client that is not ours.
        missing.append("amqp-tools")
    if is_root and _lacks(local_programs.prometheus, local_programs.promtool):
        # The tests of what is observed need it, and nothing else.
        missing.append("prometheus")
    if is_root:
        # The tests of the contract need them, and nothing else.
        missing += _missing_node()
    if not missing:
        return
    if not is_root:
        raise MissingProgram(_advice(missing))
    print(f"installing {', '.join(missing)} (Debian packages), about 10 s", flush=True)
    running = _servers()
    with _no_service_starts():
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *missing)
        if more := _missing_node():
            _apt("install", "--yes", "--no-install-recommends", *more)
    for pid in _servers() - running:  # ours listen on ports of their own; these would only confuse
        _end(pid)


def _missing_node() -> list[str]:
    """Return what of Node to install next: some packages of nodejs bring npm, Debian's does not."""
    needed = {"nodejs": "node", "npm": "npm"}
    return [package for package, program in needed.items() if shutil.which(program) is None][:1]


def _advice(missing: list[str]) -> str:
    install = f"apt-get install --no-install-recommends {' '.join(missing)}"
    return (
        f"The local stack needs {' and '.join(missing)}, and only root can install packages.\n"
        f"Either:  sudo {install}\n"
        "or:      docker compose -f deploy/compose.yaml up -d  (then set the two URLs it names)"
    )


def _lacks(*finders: Callable[[], str]) -> bool:
    try:
        for find in finders:
            find()
    except MissingProgram:
        return True
    return False


def _apt(*arguments: str) -> None:
    command = ["apt-get", "--quiet", "--option=DPkg::Lock::Timeout=300", *arguments]
    run_installer(command, _SECONDS, more_variables={"DEBIAN_FRONTEND": "noninteractive"})


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Have the packages' services stay down; a policy that is there already is left alone."""
    try:
        with _POLICY.open("x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        _POLICY.chmod(0o755)
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _servers() -> set[int]:
    found = set()
    for name in Path("/proc").glob("[0-9]*/comm"):
        try:
            if name.read_text().strip() in _SERVERS and name.owner() in _OWNERS:
                found.add(int(name.parent.name))
        except (OSError, KeyError):  # it ended while we looked; its owner has no name
            continue
    return found


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
