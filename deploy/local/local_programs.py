"""Where the programs that the local stack and the tests start are on this machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from local_errors import MissingProgram

# Where Debian has what PATH lacks, or has better: its `rabbitmq-server` in /usr/sbin is a wrapper
# that insists on changing the user, its `psql` one that chooses a version.
_PLACES = {
    "rabbitmq-server": "lib/rabbitmq/bin",
    "epmd": "lib/erlang/erts-*/bin",
    "nginx": "sbin",
    "pgbouncer": "sbin",
}
_POSTGRESQL = "lib/postgresql/*/bin"


def program(name: str) -> str:
    """Return where a program is; of PostgreSQL's, the newest. Raises MissingProgram."""
    folders = sorted(Path("/usr").glob(_PLACES.get(name, _POSTGRESQL)), key=_version)
    if name not in _PLACES:
        # All of PostgreSQL's programs come from one version: the newest that has the server.
        folders = [folder for folder in folders if (folder / "postgres").exists()]
    own = str(folders[-1] / name) if folders else ""
    found = shutil.which(own) or shutil.which(name)
    if found is None:
        raise MissingProgram(f"{name} is not installed: ./deploy/local/setup installs it, as root")
    return found


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(folder))]
