"""`verification-worker reconcile`: the provider's invoice against the ledger.

The provider documents no format of an invoice. What is assumed: a CSV file with a heading, one
line for each call, in a column the requestId that the call's answer had, in another the time of
the call (ISO 8601 or `2026-11-27 21:13:45`, in Asia/Shanghai unless it names a zone), perhaps in
a third whether it is charged. The columns' names are options.
"""

import sys
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.cli.invoice_file import Columns, InvoiceFile, Tally, parse_time
from worker.cli.mistakes import UserMistake, open_database
from worker.cli.tables import note, print_facts, print_table
from worker.cli.usage import refuse_ignored
from worker.contract.names import rfc3339
from worker.core.masking import scrub
from worker.core.request import Mode
from worker.settings import DatabaseSettings, load
from worker.store.invoice import DISPUTES, Compared, Finding, Found, Reconciliation

# A batch is some 100 bytes a line: half a megabyte, and one statement of 20 ms.
_BATCH = 5_000
_COLUMNS = ("finding", "line", "provider_request_id", "request_id", "call", "at")


def reconcile(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The invoice, a CSV file with a heading.")],
    *,
    begin: Annotated[
        str | None, typer.Option("--from", help="First day or time; default: the invoice's.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="The day or time after the last; likewise.")
    ] = None,
    column_request_id: Annotated[
        str, typer.Option(help="Column of the provider's requestId.")
    ] = "requestId",
    column_time: Annotated[str, typer.Option(help="Column of the call's time.")] = "time",
    column_charged: Annotated[
        str | None,
        typer.Option(
            help="Column that says 0, no, false or 否 of free calls. Default: charged, if there "
            "is one; else every line is charged."
        ),
    ] = None,
    encoding: Annotated[str, typer.Option(help="The file's, such as gb18030.")] = "utf-8-sig",
    mode: Annotated[
        Mode, typer.Option(envvar="PROVIDER_MODE", help="Whose calls are compared.")
    ] = Mode.LIVE,
    limit: Annotated[int, typer.Option(min=0, help="Rows shown of each finding.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, all rows.")] = False,
) -> None:
    """Compare the provider's invoice with the ledger of calls.

    It finds what is billed and unknown to the ledger (billed_unknown) or free in it
    (billed_free), one call billed again (billed_again), two calls billed for one request
    (billed_second_call), and what the ledger has as charged between --from and --to and the
    invoice has not (unbilled). Of calls in doubt it says whether they were billed.

    Exit code 1: there is something to look into, or a line that cannot be read.
    """
    if as_json:
        refuse_ignored(context, ["limit"], "all rows are printed with --json")
    first, last = _moment("--from", begin), _moment("--to", end)
    columns = Columns(column_request_id, column_time, column_charged)
    invoice, tally = InvoiceFile(file, encoding, columns, first, last), Tally()
    with (
        open_database(load(DatabaseSettings), "reconcile") as engine,
        Reconciliation.begin(engine, mode) as found,
    ):
        lines = invoice.lines(tally)
        while batch := list(islice(lines, _BATCH)):
            found.add(batch)
        span = found.span()
        first = first or (span[0] if span else None)
        last = last or (span[1] if span else None)
        if first is None or last is None or first >= last:
            raise UserMistake(f"{file}: has no charged line with a time: give --from and --to")
        compared = found.compare(first, last)
        if as_json:
            _print_json(found, compared, tally)
        else:
            _print_tables(found, compared, tally, limit)
    if not DISPUTES.isdisjoint(compared.counts) or tally.unreadable:
        sys.exit(1)


def _moment(option: str, words: str | None) -> datetime | None:
    if words is None:
        return None
    if (moment := parse_time(words)) is None:
        raise UserMistake(f"{option}: must be a day or a time such as 2026-11-01")
    return moment


def _summary(compared: Compared, tally: Tally) -> dict[str, int | datetime]:
    return {
        "from": compared.begin,
        "to": compared.end,
        "billed_lines": compared.billed,
        "known_to_the_ledger": compared.matched,
        "charged_in_the_ledger": compared.charged,
        **{kind.value: compared.counts.get(kind, 0) for kind in Finding},
        "free_lines": tally.free,
        "lines_outside": tally.outside,
        "unreadable_lines": tally.unreadable,
    }


def _print_tables(found: Reconciliation, compared: Compared, tally: Tally, limit: int) -> None:
    print_facts(_summary(compared, tally), as_json=False)
    rows = [_row(each) for kind in compared.counts for each in found.findings(kind, limit)]
    if rows:
        typer.echo()
        print_table(_COLUMNS, rows, as_json=False)
    if sum(compared.counts.values()) > len(rows):
        note(f"at most {limit} rows of each finding are shown: --limit, or all with --json")
    for problem in tally.problems:
        note(problem)
    if tally.unreadable > len(tally.problems):
        note(f"and {tally.unreadable - len(tally.problems)} more lines that cannot be read")


def _print_json(found: Reconciliation, compared: Compared, tally: Tally) -> None:
    """Write one document row by row: a month's invoice may differ in every line."""
    summary = {
        name: value if isinstance(value, int) else rfc3339(value)
        for name, value in _summary(compared, tally).items()
    }
    out = sys.stdout.buffer
    out.write(b'{"summary": ' + orjson.dumps(summary))
    out.write(b', "problems": ' + orjson.dumps(tally.problems) + b', "findings": [')
    separator = b"\n"
    for kind in compared.counts:
        for each in found.findings(kind):
            *words, at = _row(each)
            row = dict(zip(_COLUMNS, [*words, None if at is None else rfc3339(at)], strict=True))
            out.write(separator + orjson.dumps(row))
            separator = b",\n"
    out.write(b"\n]}\n")
    out.flush()


def _row(
    each: Found,
) -> tuple[str, int | None, str | None, str | None, int | None, datetime | None]:
    identifier = each.provider_request_id
    # Somebody may have named the column of ID numbers.
    if identifier is not None and identifier.rstrip("Xx").isdigit():
        identifier = scrub(identifier, None)
    return (each.kind.value, each.line, identifier, each.request_id, each.call_number, each.at)
