"""Runs the demonstration and the suites that need servers on other versions, one thing at a time.

The base is what this machine and the lock files have; each further row varies one component. It
prints a table in Markdown for deploy/VERSIONS.md. All rows with all suites take two hours on two
cores. Versions and logs are kept in .local/matrix.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from debian_releases import fits
from local_errors import StackError
from local_process import tied
from local_programs import CHECKOUT, FOLDERS
from matrix_versions import Variant, Versions, base

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FOLDER = CHECKOUT / ".local/matrix"

# What each component is tried in; the rest of a row is what this machine and the lock files have.
COMPONENTS = {
    "rabbitmq": ("RabbitMQ", ("3.10", "4.0", "4.3")),
    "postgresql": ("PostgreSQL", ("15", "16", "17", "18")),
    "python": ("Python", ("3.11", "3.12", "3.13", "3.14")),
    "packages": ("packages", ("locked", "lowest", "newest")),
}

# By cost: the demonstration takes 20 s of CPU, the last suite three minutes.
_SUITES = {
    "demonstration": (),
    "store": ("tests/integration/store",),
    "amqp": ("tests/integration/amqp",),
    "sql": ("tests/sql",),
    "e2e": ("tests/e2e",),
}

_INTERRUPTED = 130

# pytest's codes for a run that came to its end: all passed, some failed.
_COMPLETE = (0, 1)


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


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="deploy/local/matrix", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        help="this row alone: base, rabbitmq=4.0, or rabbitmq for all of its versions; repeatable",
    )
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
            _print_cells(title(row), *_tried(row, found, suites, notes))
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        print("", *(f"- {note}" for note in notes), sep="\n")
    return int(any(", failed" in note for note in notes))


def _tried(
    row: str, found: Mapping[str, str], suites: Sequence[str], notes: list[str]
) -> Iterator[str]:
    """Get the row's version, run the suites on it, and yield the row's cells."""
    each = (f"{title} {found[name]}" for name, (title, _) in COMPONENTS.items())
    try:
        has_all = row == "base"
        variant = Variant(", ".join(each)) if has_all else Versions(_FOLDER).get(*row.split("="))
    except StackError as reason:
        notes.append(f"{title(row)}: {' '.join(str(reason).split())}")
        yield from ("not to be had here", *["–"] * len(suites))
        return
    yield variant.found
    for suite in suites:
        words, told = _run(suite, variant, _FOLDER / f"log/{row}-{suite}.log")
        notes += [f"{title(row)}, {suite}, {line}" for line in told]
        yield words


def _run(suite: str, variant: Variant, log: Path) -> tuple[str, list[str]]:
    """Run a suite, its output to a file; return what came of it, and what is to be noted."""
    log.parent.mkdir(parents=True, exist_ok=True)
    paths = _SUITES[suite]
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
    # Servers that somebody else runs would be of one version in all rows.
    ours = {"AMQP_URL", "AMQP_MANAGEMENT_URL", "DATABASE_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    if variant.programs is not None:
        environment[FOLDERS] = variant.programs
    with log.open("wb") as output:
        code = subprocess.run(
            tied([variant.python, *(pytest if paths else ["deploy/local/demonstration.py"])]),
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if paths and code in _COMPLETE:
        return read_log(log.read_text(errors="replace"))
    if code == 0:  # the demonstration counts nothing
        return "passed", []
    return "failed", [f"failed, ended with code {code}: {log.relative_to(CHECKOUT)}"]


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
