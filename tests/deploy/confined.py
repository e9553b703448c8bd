"""Commands run as Kubernetes runs them: a read-only file system and no capability."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NO_PRIVILEGE = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
_READ_ONLY = 'mount -o remount,ro,bind / && exec "$@"'


@cache
def _own_mounts() -> tuple[str, ...]:
    """Return what gives a command mounts of its own; nothing where this machine allows none."""
    ways = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])
    for way in ways:
        trial = [*way, "sh", "-c", _READ_ONLY, "sh", "true"]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return tuple(way)
    return ()


def confined(command: list[str]) -> list[str]:
    """Return a command line that runs a command so; its process is the command's own.

    Without mounts of its own, only what `write_protect` has protected is read-only.
    """
    bare = [*_NO_PRIVILEGE, *command] if os.geteuid() == 0 else command
    mounts = _own_mounts()
    return [*mounts, "sh", "-c", _READ_ONLY, "sh", *bare] if mounts else bare


def write_protect(root: Path) -> None:
    """Take the right to write from everything below a folder: without capabilities root's, too."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
