"""`verification-worker status`: queues, requests, calls and workers at a glance."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.mistakes import open_database
from worker.cli.status_view import show
from worker.cli.tables import begin_again, print_json
from worker.cli.usage import refuse_ignored
from worker.settings import StatusSettings, load
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine


# Seconds for each part: a table that is locked shall not hide the others.
_PATIENCE = 2


def status(
    context: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, to Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")
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
        open_database(settings, "status", patience=_PATIENCE) as engine,
        suppress(KeyboardInterrupt),
    ):
        while True:
            parts, problems = _read(engine, settings)
            if watch:
                begin_again()
            if as_json:
                print_json({**parts, "problems": problems})
            else:
                show(parts, problems, SystemClock().now())
            if not watch:
                sys.exit(1 if problems else 0)
            time.sleep(every)


def _read(engine: Engine, settings: StatusSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """Return all parts that can be read, and why the others cannot."""
    parts: dict[str, Any] = {}
    problems: dict[str, str] = {}
    _read_queues(settings, parts, problems)
    _read_database(engine, settings, parts, problems)
    return parts, problems


def _read_queues(settings: StatusSettings, parts: dict[str, Any], problems: dict[str, str]) -> None:
    from worker.amqp.broker_errors import AmqpError
    from worker.amqp.declare import depths
    from worker.amqp.topology import topology
    from worker.contract.names import DEAD, REQUESTS, RETRY_PREFIX, UNROUTED

    needed = topology(settings.retry_delays, settings.dead_letter_days)
    retries = [each.name for each in needed.queues if each.name.startswith(RETRY_PREFIX)]
    # In the order of a message's life.
    queues = [REQUESTS, *retries, DEAD, UNROUTED]
    try:
        found = depths(settings.amqp_url.get_secret_value(), queues)
    except AmqpError as error:
        problems["queues"] = f"the broker does not answer ({error})"
        return
    parts["queues"] = [asdict(each) for each in found]
    for each in found:
        if each.problem is not None:
            problems[each.queue] = each.problem


def _read_database(
    engine: Engine, settings: StatusSettings, parts: dict[str, Any], problems: dict[str, str]
) -> None:
    from worker.ports import LedgerUnavailable
    from worker.store.overview import HEAD, PostgresOverview
    from worker.store.pause import PostgresPause
    from worker.store.registry import find_blocker

    overview, order = PostgresOverview(engine), PostgresPause(engine)

    def pause() -> object:
        hold = order.read()
        return {"paused": hold is not None, **(asdict(hold) if hold else {})}

    def schema() -> object:
        revision = overview.revision()
        return {"revision": revision, "head": HEAD, "is_head": revision == HEAD}

    reads: dict[str, Callable[[], object]] = {
        "schema": schema,
        "fleet": pause,
        "open_requests": lambda: asdict(overview.open_requests()),
        "unsent_events": lambda: asdict(overview.unsent_events()),
        "outcomes_last_hour": overview.outcomes,
        "calls_last_hour": lambda: [asdict(each) for each in overview.calls()],
        "budget": lambda: {
            "daily_call_budget": settings.daily_call_budget or None,
            "calls_per_minute": settings.provider_calls_per_minute or None,
            "today": [asdict(each) for each in overview.today()],
        },
        "workers": lambda: [asdict(each) for each in overview.workers()],
        "locks": lambda: (found := find_blocker(engine)) and asdict(found),
    }
    for name, read in reads.items():
        try:
            parts[name] = read()
        except LedgerUnavailable as error:
            problems[name] = str(error)
            if name == "schema":  # the first: who cannot read this reads nothing, and waits for it
                problems.pop(name)
                problems["database"] = f"the database does not answer ({error})"
                return
