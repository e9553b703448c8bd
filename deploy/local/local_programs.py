"""Where the programs that the local stack and the tests start are on this machine."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from local_errors import MissingProgram

CHECKOUT = Path(__file__).resolve().parents[2]

# Names folders as PATH does: their programs are taken before the machine's own, so that tests and
# demonstration run on another RabbitMQ or PostgreSQL. RabbitMQ's Erlang is looked for there, too.
FOLDERS = "LOCAL_PROGRAMS"

# Where Debian has what PATH lacks, or has better: its `rabbitmq-server` in /usr/sbin is a wrapper
# that insists on changing the user, its `psql` one that chooses a version.
_PLACES = {
    "rabbitmq-server": "lib/rabbitmq/bin",
    "epmd": "lib/erlang/erts-*/bin",
    "erl_call": "lib/erlang/lib/erl_interface-*/bin",
    "nginx": "sbin",
    "pgbouncer": "sbin",
}
_POSTGRESQL = "lib/postgresql/*/bin"


def program(name: str) -> str:
    """Return where a program is; of PostgreSQL's, the newest. Raises MissingProgram."""
    folders = sorted(Path("/usr").glob(_PLACES.get(name, _POSTGRESQL)), key=numbers)
    if name not in _PLACES:
        # All of PostgreSQL's programs come from one version: the newest that has the server.
        folders = [folder for folder in folders if (folder / "postgres").exists()]
    own = str(folders[-1] / name) if folders else ""
    chosen = shutil.which(name, path=os.environ.get(FOLDERS, ""))
    found = chosen or shutil.which(own) or shutil.which(name)
    if found is None:
        raise MissingProgram(f"{name} is not installed: ./deploy/local/setup installs it, as root")
    return found


def search_path() -> str:
    """Return the PATH of a server: what LOCAL_PROGRAMS names, then our own."""
    given = (os.environ.get(FOLDERS), os.environ.get("PATH", os.defpath))
    return os.pathsep.join(filter(None, given))


def numbers(version: object) -> list[int]:
    """Return what versions, or folders that are named for them, are compared by."""
    return [int(number) for number in re.findall(r"\d+", str(version))]
