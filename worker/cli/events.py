"""Result events: `outbox`, those not known to be sent; `unrouted`; and `events resend`."""

import sys
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

import typer

from worker.amqp.blocking import BlockingPublisher, opened
from worker.cli.inputs import Order, moment, with_groups
from worker.cli.letters import UNROUTED_EVENTS
from worker.cli.mistakes import broker_mistakes, complain, open_database
from worker.cli.tables import AsJson, counted, note, print_facts, print_table
from worker.contract.names import RESULTS
from worker.deadletters.selecting import EventFilters
from worker.maintenance.relay import Relay
from worker.settings import DatabaseSettings, OutboxSettings, load
from worker.store.inquiry import PostgresInquiry
from worker.store.outbox import PostgresOutbox, announce_again
from worker.telemetry.clock import SystemClock

outbox = typer.Typer(no_args_is_help=True, help="Result events that are not known to be sent.")
unrouted = typer.Typer(
    no_args_is_help=True, help="Events that nobody was bound for: list, replay, drop."
)
events = typer.Typer(no_args_is_help=True, help="Result events of one request.")

_FACTS = "request_id mode source outcome completed_at".split()


@outbox.command(name="list")
def list_unsent(
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the oldest first.")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """List results without a confirmed event.

    Younger ones than a minute are on their way as a rule; `held_until` says until when a relay
    keeps an older one for itself.
    """
    with open_database(load(DatabaseSettings), "outbox") as engine:
        found = PostgresInquiry(engine).unsent(limit)
    facts = attrgetter(*_FACTS)
    rows = [(*facts(each), each.read_at - each.completed_at, each.held_until) for each in found]
    print_table((*_FACTS, "age", "held_until"), rows, as_json=as_json)
    if not found:
        note("every saved result is announced")
    if len(found) == limit:
        note(f"no more than {counted(limit, 'row')}, the oldest first: --limit")


@outbox.command()
def flush(*, as_json: AsJson = False) -> None:
    """Publish the unsent events of PROVIDER_MODE now, and mark what the broker confirms.

    As a worker's relay does, and beside any number of them: an event that is younger than a
    minute, or that a relay holds, is left to who has it.
    """
    settings = load(OutboxSettings)
    url, mode = settings.amqp_url.get_secret_value(), settings.provider_mode
    with (
        broker_mistakes(),
        open_database(settings, "outbox") as engine,
        opened(url, "outbox") as connection,
    ):
        inquiry, publisher = PostgresInquiry(engine), BlockingPublisher(connection)
        relay = Relay(PostgresOutbox(engine, mode), publisher, settings.event_format)
        sent = _flush(relay, inquiry.count_unsent(mode))
        left = inquiry.count_unsent(mode)
    print_facts({"sent": sent, "left": left}, as_json=as_json)
    if left:
        note("what is left is younger than a minute or held by a relay, which sends it")


def _flush(relay: Relay, unsent: int) -> int:
    """Run the relay until it finds no more; what was unsent at the start bounds it."""
    sent = 0
    try:
        while sent < unsent and (more := relay.run_once()):
            sent += more
    finally:
        # What was confirmed before an error is marked, or it would be sent once more.
        relay.flush()
    return sent


@dataclass(frozen=True)
class WantedEvents:
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
def list_unrouted(
    wanted: WantedEvents,
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
def replay(wanted: WantedEvents, *, order: Order) -> None:
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
def drop(wanted: WantedEvents, *, order: Order) -> None:
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
