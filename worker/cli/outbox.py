"""`verification-worker outbox`: results whose event nobody is known to have sent."""

from typing import Annotated

import typer

from worker.amqp.blocking import BlockingPublisher, opened
from worker.cli.mistakes import broker_mistakes, open_database
from worker.cli.tables import AsJson, counted, note, print_facts, print_table
from worker.maintenance.relay import Relay
from worker.settings import DatabaseSettings, OutboxSettings, load
from worker.store.inquiry import PostgresInquiry
from worker.store.outbox import PostgresOutbox

outbox = typer.Typer(no_args_is_help=True, help="Result events that are not known to be sent.")


_COLUMNS = ("request_id", "mode", "source", "outcome", "completed_at", "age", "held_until")


@outbox.command(name="list")
def list_events(
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the oldest first.")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """List results without a confirmed event.

    Younger ones than a minute are on their way as a rule; `held_until` says until when a relay
    keeps an older one for itself.
    """
    with open_database(load(DatabaseSettings), "outbox") as engine:
        events = PostgresInquiry(engine).unsent(limit)
    rows = [
        (
            event.request_id,
            event.mode,
            event.source,
            event.outcome,
            event.completed_at,
            event.read_at - event.completed_at,
            event.held_until,
        )
        for event in events
    ]
    print_table(_COLUMNS, rows, as_json=as_json)
    if not events:
        note("every saved result is announced")
    if len(events) == limit:
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
        inquiry, outbox = PostgresInquiry(engine), PostgresOutbox(engine, mode)
        relay = Relay(outbox, BlockingPublisher(connection), settings.event_format)
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
