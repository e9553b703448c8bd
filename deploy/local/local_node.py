"""The packages of Node that tests need, installed beside their lock file where they are not."""

from __future__ import annotations

import fcntl
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING

from local_errors import MissingProgram
from local_install import run_installer

if TYPE_CHECKING:
    from pathlib import Path

# 20 s on a quick line.
_SECONDS = 600.0


def node() -> str:
    """Return the interpreter. Raises MissingProgram."""
    return _program("node")


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
            _install(folder)
            stamp.write_text(wanted)
    return installed


def _install(folder: Path) -> None:
    command = [_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    run_installer(command, _SECONDS, folder=folder)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingProgram(f"{name} is not installed: ./deploy/local/setup installs it, as root")
    return found
