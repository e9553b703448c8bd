"""How every command shows rows: a plain table, or one JSON document; readable without colours.

Standard output carries the data and nothing else, so that it can be piped; whatever is said about
the data goes to standard error (`note`). Times are UTC (ISO 8601) in both forms.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Cell = str | int | float | bool | datetime | timedelta | None
"""What may stand in a row; a `timedelta` is an age or a duration, seconds in JSON."""

# Into a pipe or a file a row is one line, however wide: nothing wraps that grep should find.
_PIPE_COLUMNS = 10_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, as_json: bool) -> None:
    """Print rows under the names of their columns; as JSON an array of objects with these keys.

    Without rows the table is its heading, and the JSON `[]`.
    """
    if as_json:
        print_json([dict(zip(columns, map(_value, row), strict=True)) for row in rows])
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    _console().print(table)


def print_facts(facts: Mapping[str, Cell], *, as_json: bool) -> None:
    """Print names and values, one a line; as JSON one object."""
    if as_json:
        print_json({name: _value(cell) for name, cell in facts.items()})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, cell in facts.items():
        table.add_row(Text(name), Text(shown(cell)))
    _console().print(table)


def print_json(document: object) -> None:
    """Print one JSON document, indented, in UTF-8; times become ISO 8601 in UTC."""
    text = orjson.dumps(
        document, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME
    )
    typer.echo(text)


def note(words: str) -> None:
    """Say something about the data, on standard error."""
    typer.echo(words, err=True)


def shown(cell: Cell) -> str:
    """Return a cell as a table has it; nothing in it can move the cursor or colour a terminal."""
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case datetime():
            return iso(cell, "seconds")
        case timedelta():
            return duration(cell)
        case _:
            text = str(cell)
            return text if text.isprintable() else ascii(text)[1:-1]


def iso(moment: datetime, precision: str = "milliseconds") -> str:
    """Return a time in UTC: `2026-11-27T21:13:45Z`, as precise as asked."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision)}Z"


def duration(length: timedelta) -> str:
    """Return a length of time in its two largest units: `3d 4h`, `12m 5s`, `8s`, `0.4s`."""
    seconds = length.total_seconds()
    if seconds < 0:
        return f"-{duration(-length)}"
    if seconds < 10:
        return f"{seconds:.1f}s"
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False)


def _value(cell: Cell) -> object:
    return _plain(cell) if isinstance(cell, datetime | timedelta) else cell


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    raise TypeError(type(value).__name__)
