"""`verification-worker unrouted`: events that no queue was bound for; and `events resend`."""

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from worker.cli.inputs import Order, moment, with_groups
from worker.cli.letters import UNROUTED_EVENTS
from worker.cli.mistakes import complain, open_database
from worker.cli.tables import AsJson, counted, note, print_facts
from worker.contract.names import RESULTS
from worker.deadletters.selecting import EventFilters
from worker.settings import DatabaseSettings, load
from worker.store.outbox import announce_again
from worker.telemetry.clock import SystemClock

unrouted = typer.Typer(
    no_args_is_help=True, help="Events that nobody was bound for: list, replay, drop."
)
events = typer.Typer(no_args_is_help=True, help="Result events of one request.")


@dataclass(frozen=True)
class Wanted:
    """Which events are meant."""

    request_id: Annotated[str | None, typer.Option(help="Only of this request.")] = None
    source: Annotated[str | None, typer.Option(help="Only of this publishing system.")] = None
    outcome: Annotated[str | None, typer.Option(help="Only with this outcome.")] = None
    routing_key: Annotated[str | None, typer.Option(help="Only with this routing key.")] = None
    since: Annotated[
        str | None, typer.Option(help="Only published since: 2026-11-27T08:00:00Z, or 2h, 3d ago.")
    ] = None
    until: Annotated[str | None, typer.Option(help="Only published before.")] = None

    def filters(self) -> EventFilters:
        """Return them as filters."""
        now = SystemClock().now()
        times = moment("--since", self.since, now), moment("--until", self.until, now)
        facts = self.request_id, self.source, self.outcome, self.routing_key
        return EventFilters(*facts, *times)


@unrouted.command(name="list")
@with_groups
def list_events(
    wanted: Wanted,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the oldest first.")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """List the events that no queue was bound for; they stay where they are."""
    found = UNROUTED_EVENTS.choose(wanted.filters().match, limit)
    UNROUTED_EVENTS.show(found.chosen, as_json=as_json)
    note(f"{len(found.chosen)} shown of {counted(found.matching, 'event')} that match")


@unrouted.command()
@with_groups
def replay(wanted: Wanted, *, order: Order) -> None:
    """Publish these events again, as they were, for who is bound now.

    Each leaves the queue when the broker has its copy safe: a crash in between leaves it twice, and
    its eventId is the same. What still nobody is bound for comes back; exit code 1 says so.
    """
    match = wanted.filters().match
    chosen = UNROUTED_EVENTS.choose(match).chosen
    if not UNROUTED_EVENTS.agreed("replay", chosen, order):
        return
    with UNROUTED_EVENTS.acting() as acting:
        acting.announce(chosen)
    back = UNROUTED_EVENTS.choose(match).matching
    print_facts({"replayed": acting.done, "still_unrouted": back}, as_json=order.as_json)
    if back:
        note(f"nobody is bound to {RESULTS} for their routing keys: see `unrouted list`")
        sys.exit(1)


@unrouted.command()
@with_groups
def drop(wanted: Wanted, *, order: Order) -> None:
    """Delete these events for good; their results stay in the database."""
    chosen = UNROUTED_EVENTS.choose(wanted.filters().match).chosen
    if UNROUTED_EVENTS.agreed("drop", chosen, order):
        with UNROUTED_EVENTS.acting() as acting:
            acting.drop(chosen)
        print_facts({"dropped": acting.done}, as_json=order.as_json)


@events.command()
def resend(
    request_id: Annotated[str, typer.Argument(help="As the publisher sent it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Have the stored result of a request announced once more, with the same eventId.

    Its row is marked as unsent: a worker's relay sends the event within some seconds, or
    `outbox flush` at once. Exit code 1: there is no result under this id.
    """
    with open_database(load(DatabaseSettings), "events") as engine:
        found = announce_again(engine, request_id)
    if not found:
        complain("no finished request has this id: see `verification-worker explain`")
        sys.exit(1)
    print_facts({"unsent": request_id}, as_json=as_json)
