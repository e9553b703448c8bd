"""Packages of npm and PyPI that tests need beside those of `.venv`, installed once."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from local_errors import StackError
from local_process import run
from local_programs import program

_CHECKOUT = Path(__file__).resolve().parents[1]


def node_modules(folder: Path) -> Path:
    """Return the folder of the packages that `package-lock.json` of this folder names.

    Scripts of packages are not run.
    """
    installed = folder / "node_modules"
    with _is_outdated(installed, folder / "package-lock.json") as outdated:
        if outdated:
            options = ["--ignore-scripts", "--no-audit", "--no-fund"]
            run([program("npm"), "ci", *options], folder=folder)
    return installed


def virtualenv(name: str, requirements: Path) -> Path:
    """Return the Python of a virtualenv with the packages that a lock file names, in `.local`."""
    folder = _CHECKOUT / ".local" / name
    python = folder / "bin" / "python"
    with _is_outdated(folder, requirements) as outdated:
        if outdated:
            run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)])
            options = ["install", "--no-deps", "--require-hashes", f"--requirement={requirements}"]
            into = ["--quiet", "--python", str(python)]
            try:
                uv = str(Path(sys.executable).with_name("uv"))
                run([uv, "pip", *options, *into])
            except StackError:  # only pip may be told of the index
                pip = [sys.executable, "-m", "pip", *into, "--disable-pip-version-check"]
                run([*pip, *options, "--no-compile"])
    return python


@contextmanager
def _is_outdated(folder: Path, lock: Path) -> Iterator[bool]:
    """Tell whoever comes first to install into a folder what a lock file names; others wait."""
    stamp = folder / ".lock-sha256"
    wanted = sha256(lock.read_bytes() + str(folder).encode()).hexdigest()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outdated = not stamp.exists() or stamp.read_text() != wanted
        yield outdated
        if outdated:
            stamp.write_text(wanted)
