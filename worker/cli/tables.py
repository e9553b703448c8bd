"""How every command shows rows: a plain table, or one JSON document; readable without colours.

Standard output carries the data and nothing else, so that it can be piped; whatever is said about
the data goes to standard error (`note`). Times are UTC (ISO 8601) in both forms.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import orjson
import typer
from rich.console import Console, JustifyMethod, RenderableType
from rich.measure import Measurement
from rich.table import Table

from worker.admin.cells import Cell, shown
from worker.contract.names import rfc3339

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

# Into a pipe or a file a row is one line, however wide: nothing wraps that grep should find.
_PIPE_COLUMNS = 10_000


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    as_json: bool,
    words_last: bool = False,
) -> None:
    """Print rows under the names of their columns; as JSON an array of objects with these keys.

    Without rows the table is its heading, and the JSON `[]`. On a terminal that is too narrow a
    row is printed as a block, a line for each cell; but where the last column holds words
    (`words_last`), these go on in the next line.
    """
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    cells = [tuple(row) for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        numbers = any(isinstance(row[place], int | float | timedelta) for row in cells)
        may_fold = words_last and place == len(columns) - 1
        side: JustifyMethod = "right" if numbers else "left"
        table.add_column(column, justify=side, overflow="fold", no_wrap=not may_fold)
    for row in cells:
        table.add_row(*map(shown, row))
    if words_last or _fits(table):
        render(table)
        return
    if not cells:
        typer.echo("  ".join(columns))
    for place, row in enumerate(cells):
        if place:
            typer.echo()
        render(_block(zip(columns, row, strict=True)))


def print_facts(facts: Mapping[str, Cell], *, as_json: bool) -> None:
    """Print names and values, one a line; as JSON one object."""
    if as_json:
        print_json(dict(facts))
        return
    render(_block(facts.items()))


def render(what: RenderableType) -> None:
    """Print something of rich: as wide as the terminal, elsewhere plain and never folded."""
    if sys.stdout.isatty():
        _console().print(what)
        return
    out = _console(_PIPE_COLUMNS)
    with out.capture() as captured:
        out.print(what)
    # A column is as wide as its widest cell: what fills it up is of no use in a file.
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def begin_again() -> None:
    """Clear the terminal for the next look; elsewhere an empty line stands between two."""
    console = _console()
    if console.is_terminal and not console.is_dumb_terminal:
        console.clear()
    else:
        typer.echo()


def print_json(document: object) -> None:
    """Print one JSON document, indented, in UTF-8; times become ISO 8601 in UTC, ages seconds."""
    text = orjson.dumps(
        document, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME
    )
    typer.echo(text)


def note(words: str) -> None:
    """Say something about the data, on standard error."""
    typer.echo(words, err=True)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 dead letter`, `2,000 dead letters`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _console(width: int | None = None) -> Console:
    """Return a console that prints texts as they are: no brackets or colons mean anything."""
    return Console(width=width, highlight=False, markup=False, emoji=False)


def _fits(table: Table) -> bool:
    """Return whether the output is wide enough for a table in which nothing is folded."""
    if not sys.stdout.isatty():
        return True
    out = _console()
    endless = out.options.update(width=_PIPE_COLUMNS)
    return Measurement.get(out, endless, table).maximum <= out.width


def _block(facts: Iterable[tuple[str, Cell]]) -> Table:
    block = Table(box=None, show_header=False, pad_edge=False)
    block.add_column(style="bold", no_wrap=True)
    block.add_column(overflow="fold")
    for name, cell in facts:
        block.add_row(name, shown(cell))
    return block


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    raise TypeError(type(value).__name__)
