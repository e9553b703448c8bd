"""Where the servers' programs are on this machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from local_errors import MissingProgram


def rabbitmq_server() -> str:
    """Return RabbitMQ's own start script. Raises MissingProgram.

    Debian's wrapper in /usr/sbin comes last: it insists on changing the user.
    """
    own = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return _first("rabbitmq-server", [own])


def epmd() -> str:
    """Return Erlang's port mapper. Raises MissingProgram."""
    return _first("epmd", sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd")))


def postgresql(program: str) -> str:
    """Return one of PostgreSQL's programs, of the newest version here. Raises MissingProgram."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    newest = sorted(folders, key=_version, reverse=True)
    # All programs come from one version: the first folder that has the server.
    with_server = [folder for folder in newest if (folder / "postgres").exists()]
    return _first(program, [folder / program for folder in with_server[:1]])


def prometheus() -> str:
    """Return Prometheus: the tests have it scrape a worker. Raises MissingProgram."""
    return _first("prometheus", [Path("/usr/bin/prometheus")])


def promtool() -> str:
    """Return the checker of Prometheus' rules, from the same package. Raises MissingProgram."""
    return _first("promtool", [Path("/usr/bin/promtool")])


def nginx() -> str:
    """Return nginx: the benchmark's provider. Raises MissingProgram."""
    return _first("nginx", [Path("/usr/sbin/nginx")])


def _version(folder: Path) -> int:
    found = re.fullmatch(r"\d+", folder.parent.name)
    return int(found.group()) if found else 0


def _first(program: str, places: list[Path]) -> str:
    for place in places:
        if place.exists():
            return str(place)
    found = shutil.which(program)
    if found is None:
        raise MissingProgram(f"{program} is not installed")
    return found
