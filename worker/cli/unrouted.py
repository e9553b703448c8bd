"""`verification-worker unrouted`: events that no queue was bound for; and `events resend`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.inputs import DryRun, Yes, agreed, moment
from worker.cli.mistakes import complain, open_database, open_letters
from worker.cli.tables import AsJson, counted, note, print_facts, print_table
from worker.contract.names import RESULTS, UNROUTED
from worker.settings import BrokerSettings, DatabaseSettings, load
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.admin.cells import Cell
    from worker.deadletters.selecting import Acting, EventFilters, Selection
    from worker.deadletters.unrouted import UnroutedEvent

app = typer.Typer(
    no_args_is_help=True, help="Events that nobody was bound for: list, replay, drop."
)
events_app = typer.Typer(no_args_is_help=True, help="Result events of one request.")

_COLUMNS = ("request_id", "source", "outcome", "routing_key", "published", "age")

RequestId = Annotated[str | None, typer.Option(help="Only of this request.")]
Source = Annotated[str | None, typer.Option(help="Only of this publishing system.")]
Outcome = Annotated[str | None, typer.Option(help="Only with this outcome.")]
Key = Annotated[str | None, typer.Option("--routing-key", help="Only with this routing key.")]
Since = Annotated[
    str | None, typer.Option(help="Only published since: 2026-11-27T08:00:00Z, or 2h, 3d ago.")
]
Until = Annotated[str | None, typer.Option(help="Only published before.")]


@app.command(name="list")
def list_events(
    request_id: RequestId = None,
    source: Source = None,
    outcome: Outcome = None,
    routing_key: Key = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the oldest first.")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """List the events that no queue was bound for; they stay where they are."""
    found = _select(_filters(request_id, source, outcome, routing_key, since, until), limit)
    _print(found.chosen, as_json=as_json)
    note(f"{len(found.chosen)} shown of {counted(found.matching, 'event')} that match")


@app.command()
def replay(
    request_id: RequestId = None,
    source: Source = None,
    outcome: Outcome = None,
    routing_key: Key = None,
    since: Since = None,
    until: Until = None,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Publish these events again, as they were, for who is bound now.

    Each leaves the queue when the broker has its copy safe: a crash in between leaves it twice, and
    its eventId is the same. What still nobody is bound for comes back; exit code 1 says so.
    """
    filters = _filters(request_id, source, outcome, routing_key, since, until)
    chosen = _select(filters).chosen
    if not _agreed("replay", chosen, dry_run=dry_run, yes=yes, as_json=as_json):
        return
    done = _act(lambda acting: acting.announce(chosen))
    back = _select(filters).matching
    print_facts({"replayed": done, "still_unrouted": back}, as_json=as_json)
    if back:
        note(f"nobody is bound to {RESULTS} for their routing keys: see `unrouted list`")
        sys.exit(1)


@app.command()
def drop(
    request_id: RequestId = None,
    source: Source = None,
    outcome: Outcome = None,
    routing_key: Key = None,
    since: Since = None,
    until: Until = None,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete these events for good; their results stay in the database."""
    chosen = _select(_filters(request_id, source, outcome, routing_key, since, until)).chosen
    if _agreed("drop", chosen, dry_run=dry_run, yes=yes, as_json=as_json):
        done = _act(lambda acting: acting.drop(chosen))
        print_facts({"dropped": done}, as_json=as_json)


@events_app.command()
def resend(
    request_id: Annotated[str, typer.Argument(help="As the publisher sent it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Have the stored result of a request announced once more, with the same eventId.

    Its row is marked as unsent: a worker's relay sends the event within some seconds, or
    `outbox flush` at once. Exit code 1: there is no result under this id.
    """
    from worker.store.outbox import announce_again

    with open_database(load(DatabaseSettings), "events") as engine:
        found = announce_again(engine, request_id)
    if not found:
        complain("no finished request has this id: see `verification-worker explain`")
        sys.exit(1)
    print_facts({"unsent": request_id}, as_json=as_json)


def _filters(
    request_id: str | None,
    source: str | None,
    outcome: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
) -> EventFilters:
    from worker.deadletters.selecting import EventFilters

    now = SystemClock().now()
    times = moment("--since", since, now), moment("--until", until, now)
    return EventFilters(request_id, source, outcome, key, *times)


def _print(events: list[UnroutedEvent], *, as_json: bool) -> None:
    now = SystemClock().now()
    print_table(_COLUMNS, [_row(each, now) for each in events], as_json=as_json)


def _row(event: UnroutedEvent, now: datetime) -> tuple[Cell, ...]:
    age = None if event.published is None else now - event.published
    columns = (event.request_id, event.source, event.outcome, event.routing_key)
    return (*columns, event.published, age)


def _agreed(
    verb: str, chosen: list[UnroutedEvent], *, dry_run: bool, yes: bool, as_json: bool
) -> bool:
    what, show = counted(len(chosen), "event"), lambda: _print(chosen, as_json=as_json)
    return agreed(verb, what, show, dry_run=dry_run, yes=yes or not chosen, as_json=as_json)


def _select(filters: EventFilters, limit: int | None = None) -> Selection[UnroutedEvent]:
    from worker.deadletters.selecting import select
    from worker.deadletters.unrouted import UnroutedEvent

    with open_letters(load(BrokerSettings), UNROUTED, "unrouted events") as queue:
        return select(queue, UnroutedEvent.read, filters.match, limit)


def _act(act: Callable[[Acting[UnroutedEvent]], None]) -> int:
    """Do it with what was chosen, and return with how many it was done."""
    from worker.deadletters.selecting import Acting
    from worker.deadletters.unrouted import UnroutedEvent

    with open_letters(load(BrokerSettings), UNROUTED, "unrouted events") as queue:
        acting = Acting(queue, UnroutedEvent.read, SystemClock())
        act(acting)
        return acting.done
