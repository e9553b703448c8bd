"""`verification-worker status`: queues, requests, calls and workers at a glance."""

import sys
import time
from contextlib import suppress
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from worker.admin.status_parts import PATIENCE, reads
from worker.amqp.broker_errors import AmqpError
from worker.cli.mistakes import open_database
from worker.cli.status_view import show
from worker.cli.tables import begin_again, print_json
from worker.cli.usage import refuse_ignored
from worker.ports import LedgerUnavailable
from worker.settings import StatusSettings, load
from worker.telemetry.clock import SystemClock


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
                show(parts, problems, SystemClock().now())
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
