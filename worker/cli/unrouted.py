"""`verification-worker unrouted`: result events that no queue was bound for, and `events resend`.

Events carry no personal data but what a publisher has put into `context`, which is never shown.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.inputs import moment
from worker.cli.mistakes import UserMistake, broker_mistakes, open_database
from worker.cli.tables import AsJson, complain, counted, note, print_facts, print_table
from worker.contract.names import RESULTS, UNROUTED
from worker.deadletters import unrouted_events
from worker.deadletters.unrouted_events import EventFilter
from worker.settings import BrokerSettings, DatabaseSettings, load
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.amqp.dead_letter_queue import DeadLetterQueue
    from worker.deadletters.unrouted_events import UnroutedEvent

app = typer.Typer(
    no_args_is_help=True, help="Events that nobody was bound for: list, replay, drop."
)
events_app = typer.Typer(no_args_is_help=True, help="Result events of one request.")

_COLUMNS = ("request_id", "source", "outcome", "routing_key", "published", "age")

Source = Annotated[str | None, typer.Option(help="Only of this publishing system.")]
Outcome = Annotated[str | None, typer.Option(help="Only with this outcome.")]
Key = Annotated[str | None, typer.Option("--routing-key", help="Only with this routing key.")]
Since = Annotated[
    str | None, typer.Option(help="Only published since: 2026-11-27T08:00:00Z, or 2h, 3d ago.")
]
Until = Annotated[str | None, typer.Option(help="Only published before.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _wanted(
    source: str | None, outcome: str | None, key: str | None, since: str | None, until: str | None
) -> EventFilter:
    now = SystemClock().now()
    times = moment("--since", since, now), moment("--until", until, now)
    return EventFilter(source, outcome, key, *times)


@app.command(name="list")
def list_events(
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
    found = _look(_wanted(source, outcome, routing_key, since, until))
    _print(found[:limit], as_json=as_json)
    note(f"{min(limit, len(found))} shown of {counted(len(found), 'event')} that match")


@app.command()
def replay(
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
    wanted = _wanted(source, outcome, routing_key, since, until)
    if not _agreed("replay", wanted, dry_run=dry_run, yes=yes, as_json=as_json):
        return

    with _queue() as queue:
        done = unrouted_events.replay(queue, Counter(unrouted_events.events(queue, wanted)))
        back = len(unrouted_events.events(queue, wanted))
    print_facts({"replayed": done, "still_unrouted": back}, as_json=as_json)
    if back:
        note(f"nobody is bound to {RESULTS} for their routing keys: see `unrouted list`")
        sys.exit(1)


@app.command()
def drop(
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
    wanted = _wanted(source, outcome, routing_key, since, until)
    if _agreed("drop", wanted, dry_run=dry_run, yes=yes, as_json=as_json):
        with _queue() as queue:
            done = unrouted_events.drop(queue, Counter(unrouted_events.events(queue, wanted)))
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


def _print(found: list[UnroutedEvent], *, as_json: bool) -> None:
    now = SystemClock().now()
    rows = [
        (
            each.request_id,
            each.source,
            each.outcome,
            each.routing_key,
            each.published,
            None if each.published is None else now - each.published,
        )
        for each in found
    ]
    print_table(_COLUMNS, rows, as_json=as_json)


def _agreed(verb: str, wanted: EventFilter, *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Show what is meant and ask, unless that was answered on the command line."""
    if yes and not dry_run:
        return True
    found, asking = _look(wanted), sys.stdin.isatty()
    if dry_run or (asking and not as_json):
        _print(found, as_json=as_json)
    if dry_run or not found:
        return False
    if not asking:
        raise UserMistake(f"nobody is there to ask: give --yes to {verb}, or --dry-run to look")
    return typer.confirm(f"{verb} {counted(len(found), 'event')}?", err=True)


def _look(wanted: EventFilter) -> list[UnroutedEvent]:
    with _queue() as queue:
        return unrouted_events.events(queue, wanted)


@contextmanager
def _queue() -> Iterator[DeadLetterQueue]:
    from worker.amqp.dead_letter_queue import DeadLetterQueue, InUse
    from worker.telemetry.logs import configure

    configure("auto", "warning")
    url = load(BrokerSettings).amqp_url.get_secret_value()
    with broker_mistakes():
        try:
            with DeadLetterQueue.opened(url, UNROUTED) as queue:
                yield queue
        except InUse:
            words = "another tool holds the unrouted events: try again when it is done"
            raise UserMistake(words) from None
