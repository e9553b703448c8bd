"""Runs the demonstration and the suites that need servers on other versions, one thing at a time.

The base is what this machine and the lock files have; each further row varies one component. It
prints a table in Markdown for deploy/VERSIONS.md. All rows with all suites take two hours on two
cores. Versions and logs are kept in .local/matrix.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from local_errors import StackError
from local_process import tied
from local_programs import FOLDERS
from matrix_rows import BASE, SUITES, TITLES, Line, NotToBeHad, Outcome, plan, table
from matrix_versions import Variant, Versions, base

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CHECKOUT = Path(__file__).resolve().parents[2]
_FOLDER = _CHECKOUT / ".local/matrix"

_INTERRUPTED = 130

# pytest's codes for a run that came to its end: all passed, some failed.
_COMPLETE = (0, 1)


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
    parser.add_argument(
        "--suite",
        action="append",
        choices=tuple(SUITES),
        help="this suite alone; repeatable",
    )
    chosen = parser.parse_args(arguments)
    suites = [suite for suite in SUITES if suite in (chosen.suite or SUITES)]
    try:
        found = base()
        rows = plan(found, chosen.only)
    except StackError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 2
    lines = [Line(row) for row in rows]
    try:
        for line in lines:
            _fill(line, found, suites)
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        print(f"\n{datetime.now(UTC):%Y-%m-%d}\n\n{table(lines)}")
    return int(any(outcome.failed for line in lines for outcome in line.outcomes.values()))


def _fill(line: Line, found: Mapping[str, str], suites: Sequence[str]) -> None:
    """Get the row's version and run the suites on it."""
    _say(f"{line.row}")
    try:
        if line.row.component == BASE:
            of_each = (f"{TITLES[name]} {version}" for name, version in found.items())
            variant = Variant(", ".join(of_each))
        else:
            variant = Versions(_FOLDER).get(line.row)
    except NotToBeHad as reason:
        line.lacking = str(reason)
        _say(f"  not to be had here: {reason}")
        return
    line.found = variant.found
    _say(f"  {variant.found}")
    for suite in suites:
        started = time.monotonic()
        line.outcomes[suite] = outcome = _run(suite, variant, _FOLDER / f"log/{line.row}-{suite}")
        _say(f"  {suite}: {outcome} ({time.monotonic() - started:.0f} s)")


def _run(suite: str, variant: Variant, place: Path) -> Outcome:
    """Run a suite; what it prints goes to a file."""
    log, report = place.with_suffix(f"{place.suffix}.log"), place.with_suffix(f"{place.suffix}.xml")
    log.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = ["-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *SUITES[suite]]
    if not SUITES[suite]:
        command = ["deploy/local/demonstration.py"]
    # Servers that somebody else runs would be of one version in all rows.
    ours = {"AMQP_URL", "AMQP_MANAGEMENT_URL", "DATABASE_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    if variant.programs is not None:
        environment[FOLDERS] = variant.programs
    with log.open("wb") as output:
        code = subprocess.run(
            tied([variant.python, *command]),
            cwd=_CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    where = f"ended with code {code}: {log.relative_to(_CHECKOUT)}"
    if not SUITES[suite]:
        return Outcome(failed=(where,)) if code else Outcome(1)
    complete = code in _COMPLETE and report.exists()
    return read_report(report) if complete else Outcome(failed=(f"pytest {where}",))


def read_report(report: Path) -> Outcome:
    """Return what pytest's report in JUnit's format tells."""
    passed, failed, skipped = 0, [], []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 (our own pytest wrote it)
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")
        elif skip is not None:
            skipped.append(skip.get("message", ""))
        else:
            passed += 1
    return Outcome(passed, tuple(failed), tuple(skipped))


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
