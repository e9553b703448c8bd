"""`verification-worker status`: queues, requests, calls and workers at a glance.

What it prints for people: one line a fact, readable without colours.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from worker.admin.cells import age, duration
from worker.admin.status_parts import PATIENCE, reads
from worker.amqp.broker_errors import AmqpError
from worker.cli.mistakes import open_database
from worker.cli.tables import begin_again, counted, print_json, render
from worker.cli.usage import refuse_ignored
from worker.contract.names import DEAD, REQUEST_QUEUES, UNROUTED, rfc3339
from worker.core.operations import UNSENT_SECONDS, Blocker
from worker.ports import LedgerUnavailable
from worker.settings import StatusSettings, load
from worker.telemetry.clock import SystemClock

_GOOD, _NOTABLE, _BAD, _FAINT = "green", "yellow", "bold red", "dim"


def status(
    context: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, to Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two looks of --watch.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show queues, open requests, unsent events, calls, budget, workers and the pause.

    Queues are asked by AMQP alone, so unacknowledged messages are not known; what workers hold
    stands under the open requests. Exit code 1: a part could not be read; the others are shown.
    """
    if not watch:
        refuse_ignored(context, ["every"], "is for --watch")
    settings = load(StatusSettings)
    with (
        open_database(settings, "status", patience=PATIENCE) as engine,
        suppress(KeyboardInterrupt),
    ):
        while True:
            parts, problems = _read(engine, settings)
            if watch:
                begin_again()
            if as_json:
                print_json({**parts, "problems": problems})
            else:
                _show(parts, problems, SystemClock().now())
            if not watch:
                sys.exit(1 if problems else 0)
            time.sleep(every)


def _read(engine: Engine, settings: StatusSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """Return all parts that can be read, and why the others cannot."""
    parts: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, read in reads(engine, settings).items():
        try:
            parts[name] = read()
        except AmqpError as error:
            problems[name] = f"the broker does not answer ({error})"
        except LedgerUnavailable as error:
            if name == "schema":  # who cannot read this reads nothing, and waits for it
                problems["database"] = f"the database does not answer ({error})"
                break
            problems[name] = str(error)
    for queue in parts.get("queues", ()):
        if queue["problem"] is not None:
            problems[queue["queue"]] = queue["problem"]
    return parts, problems


def _show(parts: Mapping[str, Any], problems: Mapping[str, str], now: datetime) -> None:
    """Print the parts, and then a line for each problem."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for name, look in _PARTS.items():
        if name in parts:
            grid.add_row(name.replace("_", " "), look(parts[name], now))
    for part, problem in problems.items():
        grid.add_row(Text(part, _BAD), problem)
    render(grid)


def _fleet(part: Mapping[str, Any], now: datetime) -> RenderableType:
    if not part["paused"]:
        return Text("not paused", _GOOD)
    since = part["since"]
    return Text.assemble(
        ("PAUSED", _BAD), f" for {duration(now - since)} by {part['by']}: {part['reason']}"
    )


def _schema(part: Mapping[str, Any], _now: datetime) -> RenderableType:
    if part["is_head"]:
        return f"{part['revision']}, as this program has it"
    advice = f"{part['revision']}, but this program has {part['head']}: run alembic upgrade head"
    return Text(advice, _BAD)


def _queues(part: Iterable[Mapping[str, Any]], _now: datetime) -> RenderableType:
    rows = []
    for each in part:
        waits_for_people = each["queue"] in (DEAD, UNROUTED) and each["ready"]
        is_deserted = each["queue"] in REQUEST_QUEUES.values() and each["consumers"] == 0
        ready = Text(_count(each["ready"]), _NOTABLE if waits_for_people else "")
        consumers = Text(_count(each["consumers"]), _BAD if is_deserted else "")
        rows.append((each["queue"], ready, consumers))
    return _table(("queue", "ready", "consumers"), rows)


def _open_requests(part: Mapping[str, Any], now: datetime) -> RenderableType:
    line = Text(f"{part['working']:,} working, {part['waiting']:,} waiting, ")
    line.append(f"{part['lapsed']:,} with a lapsed lease", _BAD if part["lapsed"] else "")
    return line.append(_oldest(part["oldest"], now))


def _unsent_events(part: Mapping[str, Any], now: datetime) -> RenderableType:
    oldest = part["oldest"]
    late = oldest is not None and (now - oldest).total_seconds() > UNSENT_SECONDS
    return Text(f"{part['events']:,}", _BAD if late else "").append(_oldest(oldest, now))


def _outcomes(part: Mapping[str, int], _now: datetime) -> RenderableType:
    return ", ".join(f"{count:,} {name}" for name, count in part.items()) or "none"


def _calls(part: Sequence[Mapping[str, Any]], _now: datetime) -> RenderableType:
    if not part:
        return "none"
    names = ("calls", "charged", "in_doubt", "charge_unknown")
    counts = [(each["call_class"], *(each[name] for name in names)) for each in part]
    counts.append(("all", *(sum(each[name] for each in part) for name in names)))
    rows = []
    for kind, calls, charged, *unclear in counts:
        marked = (Text(f"{count:,}", _NOTABLE if count else "") for count in unclear)
        rows.append((kind, f"{calls:,}", f"{charged:,}", *marked))
    return _table(("class", "calls", "charged", "in doubt", "charge unknown"), rows)


def _budget(part: Mapping[str, Any], now: datetime) -> RenderableType:
    budget, per_minute = part["daily_call_budget"], part["calls_per_minute"]
    bulk = part["bulk_daily_call_budget"]
    days = (_day(each, budget, bulk, now) for each in part["today"])
    lines: list[RenderableType] = list(days) or ["no call today"]
    if per_minute:
        lines.append(Text(f"at most {per_minute:,} calls a minute", _FAINT))
    if not budget:
        lines.append(Text("no DAILY_CALL_BUDGET is set here", _FAINT))
    return Group(*lines)


def _day(each: Mapping[str, Any], budget: int | None, bulk: int | None, now: datetime) -> str:
    line = f"{each['mode']}: {counted(each['calls'], 'call')} today"
    if budget:
        spent = each["calls"] if each["promised"] is None else each["promised"]
        line += f", {spent:,} of {budget:,} spent ({100 * spent // budget} %)"
    if bulk:
        line += f", {each['bulk']:,} of bulk's {bulk:,}"
    if (then := each["next_call_at"]) is not None and then > now:
        line += f", next call in {duration(then - now)}"
    return line


def _workers(part: Sequence[Mapping[str, Any]], now: datetime) -> RenderableType:
    if not part:
        return "none at work in the last 5 minutes"
    rows = [
        (each["name"], _doing(each, now), _count(each["calls"]), _ago(each["seen_at"], now))
        for each in part
    ]
    table = _table(("worker", "does", "calls in 5 min", "last seen"), rows)
    returned = sum(each["returned"] or 0 for each in part)
    if not returned:
        return table
    words = f"{counted(returned, 'message')} given up by the broker, put back by these workers"
    return Group(table, Text(words, _NOTABLE))


def _doing(worker: Mapping[str, Any], now: datetime) -> Text:
    state = worker["state"]
    if state is None:
        return Text("?", _FAINT)
    words = f"{state}: {worker['reason']}" if worker["reason"] else state
    if (probe_at := worker["probe_at"]) is not None:
        words += f", probes in {age(now, probe_at)}"
    return Text(words, _GOOD if state == "working" else _BAD)


def _blocker(part: Mapping[str, Any] | None, _now: datetime) -> RenderableType:
    return Text(str(Blocker(**part)) if part else "none", _BAD if part else "")


def _oldest(oldest: datetime | None, now: datetime) -> str:
    if oldest is None:
        return ""
    return f"; the oldest from {rfc3339(oldest, 'seconds')} ({_ago(oldest, now)})"


def _ago(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else f"{age(moment, now)} ago"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> Table:
    table = Table(box=None, header_style=_FAINT, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*row)
    return table


_PARTS: dict[str, Callable[[Any, datetime], RenderableType]] = {
    "fleet": _fleet,
    "schema": _schema,
    "queues": _queues,
    "open_requests": _open_requests,
    "unsent_events": _unsent_events,
    "outcomes_last_hour": _outcomes,
    "calls_last_hour": _calls,
    "budget": _budget,
    "workers": _workers,
    "locks": _blocker,
}
