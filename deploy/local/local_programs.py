"""Where the programs that the local stack and the tests start are on this machine.

As a program it prints the Debian packages that are missing, for `deploy/local/setup`.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from local_errors import MissingProgram

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

# What tests use where we may install it, by package: a client that is not ours, what scrapes a
# worker, a proxy on the way to the provider, a pooler before the database, what builds the image,
# Node for the contract, and a browser for the console's pages, without boxes for Chinese.
_FOR_TESTS = {
    "amqp-tools": "amqp-publish",
    "prometheus": "prometheus promtool",
    "tinyproxy-bin": "tinyproxy",
    "pgbouncer": "pgbouncer",
    "buildah": "buildah",
    "nodejs": "node",
    "chromium fonts-wqy-microhei": "chromium",
}


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


def missing_packages(given: Mapping[str, str]) -> list[str]:
    """Return the packages that the stack cannot start without.

    A server that AMQP_URL or DATABASE_URL names is not ours to install; psql still is.
    """
    needed = {"postgresql-client": "psql"}
    if not given.get("AMQP_URL"):
        needed["rabbitmq-server"] = "rabbitmq-server epmd"
    if not given.get("DATABASE_URL"):
        needed["postgresql"] = "initdb postgres"
    return _lacking(needed)


def _lacking(needed: Mapping[str, str]) -> list[str]:
    return [package for package, names in needed.items() if not all(map(_has, names.split()))]


def _has(name: str) -> bool:
    try:
        return bool(program(name))
    except MissingProgram:
        return False


if __name__ == "__main__":
    missing = missing_packages(os.environ)
    if "--benchmark" in sys.argv:
        missing += _lacking({"nginx-light": "nginx"})
    if "--tests" in sys.argv:
        missing += _lacking(_FOR_TESTS)
        if _has("node"):  # some packages of nodejs bring npm, Debian's does not
            missing += _lacking({"npm": "npm"})
    print(*missing)
