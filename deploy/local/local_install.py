"""The Debian packages that the local stack needs, and what tests need beside them, installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import psutil

from local_errors import MissingProgram, StackError
from local_programs import CHECKOUT, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Debian asks this program whether a package may start its service; 101 means no.
_POLICY = Path("/usr/sbin/policy-rc.d")

# 10 to 20 s on a quick line; a slow one gets its time.
_SECONDS = 900.0

# Silence for longer looks as if it hung.
_TOLD_EVERY = 5.0

# What went wrong stands at the end of what an installer says; before it are progress and advice.
_QUOTED_LINES = 10

# What tests and the demonstration use where we may install it, by package: a client that is not
# ours, what scrapes a worker, a proxy on the way to the provider, a pooler before the database,
# what builds the image, Node for the contract, and a browser for the console's pages. Some packages
# of nodejs bring npm, Debian's does not.
_FOR_TESTS = {
    "amqp-tools": ["amqp-publish"],
    "prometheus": ["prometheus", "promtool"],
    "tinyproxy-bin": ["tinyproxy"],
    "pgbouncer": ["pgbouncer"],
    "buildah": ["buildah"],
    "nodejs": ["node"],
    "chromium": ["chromium"],
}


def missing_packages(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the packages that the stack cannot start without.

    A server that AMQP_URL or DATABASE_URL names is not ours to install; psql still is.
    """
    given = os.environ if environment is None else environment
    needed = {"postgresql-client": ["psql"]}
    if not given.get("AMQP_URL"):
        needed["rabbitmq-server"] = ["rabbitmq-server", "epmd"]
    if not given.get("DATABASE_URL"):
        needed["postgresql"] = ["initdb", "postgres"]
    return _lacking(needed)


def install_missing(
    environment: Mapping[str, str] | None = None, *, benchmark: bool = False
) -> None:
    """Install what is missing (as root, on Debian), or raise MissingProgram with the command."""
    missing = missing_packages(environment)
    if benchmark:
        missing += _lacking({"nginx-light": ["nginx"]})
    may_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if may_install:
        missing += _lacking(_FOR_TESTS)
        if "chromium" in missing:
            missing.append("fonts-wqy-microhei")  # or Chinese is boxes in its pictures
        if "nodejs" not in missing:
            missing += _lacking({"npm": ["npm"]})
    if not missing:
        return
    if not may_install:
        install = f"apt-get install --no-install-recommends {' '.join(missing)}"
        raise MissingProgram(
            f"The local stack needs {' and '.join(missing)}, and only root can install packages.\n"
            f"Either:  sudo {install}\n"
            "or:      docker compose -f deploy/compose.yaml up -d  (then set the two URLs it names)"
        )
    print(f"installing {', '.join(missing)} (Debian packages), about 10 s", flush=True)
    running = _packages_servers()
    with _no_service_starts():
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *missing)
        if more := _lacking({"npm": ["npm"]}):
            _apt("install", "--yes", "--no-install-recommends", *more)
    for server in _packages_servers() - running:  # these would only confuse
        with suppress(psutil.NoSuchProcess):
            server.terminate()


def node_modules(folder: Path) -> Path:
    """Return the folder of the packages that `package-lock.json` of this folder names.

    They are installed once, by whoever comes first. Scripts of packages are not run.
    """
    installed = folder / "node_modules"
    stamp = installed / ".lock-sha256"
    wanted = sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    # Outside of what npm removes; the folder itself is there already.
    with (folder / "package-lock.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            command = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            _run(command, folder, {})
            stamp.write_text(wanted)
    return installed


def virtualenv(name: str, requirements: Path) -> Path:
    """Return the Python of a virtualenv with the packages that a lock file names, in `.local`.

    They are installed once, by whoever comes first.
    """
    folder = CHECKOUT / ".local" / name
    stamp, python = folder / ".lock-sha256", folder / "bin" / "python"
    wanted = sha256(requirements.read_bytes() + str(folder).encode()).hexdigest()
    with requirements.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], None, {})
            options = ["install", "--no-deps", "--require-hashes", "--requirement"]
            into = ["--quiet", "--python", str(python)]
            uv = str(Path(sys.executable).with_name("uv"))
            pip = [sys.executable, "-m", "pip", *into, "--disable-pip-version-check"]
            try:
                _run([uv, "pip", *options, str(requirements), *into], None, {})
            except StackError:  # only pip may be told of the index
                _run([*pip, *options, str(requirements), "--no-compile"], None, {})
            stamp.write_text(wanted)
    return python


def _lacking(needed: Mapping[str, Sequence[str]]) -> list[str]:
    return [package for package, names in needed.items() if not all(map(_is_there, names))]


def _is_there(name: str) -> bool:
    try:
        program(name)
    except MissingProgram:
        return False
    return True


def _apt(*arguments: str) -> None:
    command = ["apt-get", "--quiet", "--option=DPkg::Lock::Timeout=300", *arguments]
    _run(command, None, {"DEBIAN_FRONTEND": "noninteractive"})


def _run(command: Sequence[str], folder: Path | None, more: Mapping[str, str]) -> None:
    """Run an installer without a terminal, and say every few seconds where it is.

    Raises StackError with the last lines that it said.
    """
    words = " ".join(command)
    said: deque[str] = deque(maxlen=_QUOTED_LINES)
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        lines = filter(str.strip, running.stdout or ())
        reader = Thread(target=said.extend, args=(lines,))
        reader.start()
        while (code := _ended(running)) is None:
            seconds = time.monotonic() - began
            if seconds > _SECONDS:
                running.kill()
                raise StackError(f"{words} was not done after {_SECONDS:.0f} s")
            print(f"  {seconds:.0f} s: {said[-1].strip()[:70] if said else words}", flush=True)
        reader.join()
    if code != 0:
        raise StackError(f"{words} ended with code {code}:\n{''.join(said).strip()}")


def _ended(process: subprocess.Popen[str]) -> int | None:
    """Return a process's exit code; None where it is still at work after a few seconds."""
    try:
        return process.wait(_TOLD_EVERY)
    except subprocess.TimeoutExpired:
        return None


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


def _packages_servers() -> set[psutil.Process]:
    """Return what RabbitMQ's package may start all the same; a private stack has another user."""
    return {
        process
        for process in psutil.process_iter(["name", "username"])
        if process.info["name"] in ("beam.smp", "epmd")
        and process.info["username"] in ("rabbitmq", "epmd")
    }
