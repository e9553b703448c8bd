"""What `deploy/local/matrix` runs, and the table that it prints: one thing varied at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local_errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# What each component is tried in; the rest of a row is what this machine and the lock files have.
COMPONENTS: dict[str, tuple[str, ...]] = {
    "rabbitmq": ("3.10", "4.0", "4.3"),
    "postgresql": ("15", "16", "17", "18"),
    "python": ("3.11", "3.12", "3.13", "3.14"),
    "packages": ("locked", "lowest", "newest"),
}
TITLES = {
    "rabbitmq": "RabbitMQ",
    "postgresql": "PostgreSQL",
    "python": "Python",
    "packages": "packages",
}

# By cost: the demonstration takes 20 s of CPU, the last suite three minutes.
SUITES: dict[str, tuple[str, ...]] = {
    "demonstration": (),
    "store": ("tests/integration/store",),
    "amqp": ("tests/integration/amqp",),
    "sql": ("tests/sql",),
    "e2e": ("tests/e2e",),
}

BASE = "base"


class NotToBeHad(StackError):
    """A version cannot be had on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One component in one version; with the component `base`, nothing is varied."""

    component: str
    version: str

    def __str__(self) -> str:
        return f"{self.component}={self.version}" if self.version else self.component


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one suite in one row."""

    passed: int = 0
    failed: tuple[str, ...] = ()
    """The failed tests, or why the suite did not get to its end."""
    skipped: tuple[str, ...] = ()
    """The reasons, one for each skipped test."""

    def __str__(self) -> str:
        parts = [f"**{len(self.failed)} failed**"] if self.failed else []
        parts += [f"{self.passed} passed"] if self.passed else []
        parts += [f"{len(self.skipped)} skipped"] if self.skipped else []
        return ", ".join(parts) or "no test"


@dataclass(slots=True)
class Line:
    """A row of the table: what was found, or why nothing, and what came of the suites."""

    row: Row
    found: str = ""
    lacking: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)


def fits(found: str, wanted: str) -> bool:
    """Tell whether 4.0.5 is a 4.0: whole numbers are compared, so that 4.01 is none."""
    return found == wanted or found.startswith(f"{wanted}.")


def numbers(version: str) -> list[int]:
    """Return what versions are compared by."""
    return [int(number) for number in re.findall(r"\d+", version)]


def plan(base: Mapping[str, str], only: Sequence[str] = ()) -> list[Row]:
    """Return the rows: the base, then each version that the base does not have.

    With `only`, those alone: `base`, `rabbitmq=4.0`, or `rabbitmq` for all of its versions. What
    the base has is the base's row. Raises StackError for what there is not.
    """
    first = Row(BASE, "")
    every = {
        row: first if fits(base[row.component], row.version) else row
        for row in (Row(name, version) for name in COMPONENTS for version in COMPONENTS[name])
    }
    if not only:
        return list(dict.fromkeys((first, *every.values())))
    rows: list[Row] = []
    for wish in only:
        found = [each for row, each in every.items() if wish in (row.component, str(row))]
        if wish == BASE:
            found = [first]
        if not found:
            choices = ", ".join((BASE, *COMPONENTS, *map(str, every)))
            raise StackError(f"there is no row {wish}; there are {choices}")
        rows += found
    return list(dict.fromkeys(rows))


def table(lines: Iterable[Line]) -> str:
    """Return the table in Markdown, with a note for all that is not simply passed."""
    heads = ("varied", "version found", *SUITES)
    written = [heads, ("---",) * len(heads)]
    notes: list[str] = []
    for line in lines:
        written.append((_title(line.row), *_cells(line)))
        notes += _notes(line)
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in written)
    return "\n".join((rows, "", *(f"- {note}" for note in notes))).rstrip()


def _title(row: Row) -> str:
    return "nothing" if row.component == BASE else f"{TITLES[row.component]} {row.version}"


def _cells(line: Line) -> Iterator[str]:
    yield "not to be had here" if line.lacking else line.found
    for suite in SUITES:
        outcome = line.outcomes.get(suite)
        if outcome is None:
            yield "–" if line.lacking else "not run"
        elif SUITES[suite]:
            yield str(outcome)
        else:  # the demonstration counts nothing
            yield "**failed**" if outcome.failed else "passed"


def _notes(line: Line) -> Iterator[str]:
    title = _title(line.row)
    if line.lacking:
        yield f"{title}: {line.lacking}"
    for suite, outcome in line.outcomes.items():
        for test in outcome.failed:
            yield f"{title}, {suite}, failed: {test}"
        for reason in dict.fromkeys(outcome.skipped):
            yield f"{title}, {suite}, skipped {outcome.skipped.count(reason)}: {reason}"
