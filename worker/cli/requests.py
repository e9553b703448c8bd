"""`verification-worker requests`: which requests there were, and how they ended."""

from dataclasses import astuple, fields
from typing import Annotated

import typer

from worker.cli.inputs import moment
from worker.cli.mistakes import open_database
from worker.cli.tables import AsJson, counted, note, print_table
from worker.core.outcome import ErrorKind, Outcome
from worker.settings import DatabaseSettings, load
from worker.store.inquiry import ListedRequest, RequestFilter
from worker.store.inquiry import list_requests as listed
from worker.telemetry.clock import SystemClock

# They answer messages, and end no request.
_NO_ROW = frozenset({ErrorKind.CONFLICT, ErrorKind.MODE_MISMATCH, ErrorKind.UNREADABLE})

requests = typer.Typer(no_args_is_help=True, help="Requests by source, outcome and time.")


@requests.command(name="list")
def list_requests(
    outcome: Annotated[Outcome | None, typer.Option(help="Only with this outcome.")] = None,
    kind: Annotated[
        ErrorKind | None, typer.Option(help="Only with this error_kind: why there is no answer.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only of this publishing system.")] = None,
    since: Annotated[
        str, typer.Option(help="Only first claimed since: 2026-11-27T08:00:00Z, or 2h, 3d ago.")
    ] = "1d",
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the newest first.")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """List requests, the newest first; `explain` shows what happened to one.

    One without an outcome is open: `state` says whether a worker has it (working) or it waits for
    its next attempt (waiting).
    """
    begin = moment("--since", since, SystemClock().now())
    wanted = RequestFilter(begin, outcome, kind, source)
    with open_database(load(DatabaseSettings), "requests") as engine:
        found = listed(engine, wanted, limit)
    columns = [field.name for field in fields(ListedRequest)]
    print_table(columns, map(astuple, found), as_json=as_json)
    if not found and (outcome is Outcome.CONFLICT or kind in _NO_ROW):
        note("such messages leave no row: the view turned_away counts them")
    elif not found:
        note("no request is like this: --since looks further back")
    if len(found) == limit:
        note(f"no more than {counted(limit, 'row')}, the newest first: --limit")
