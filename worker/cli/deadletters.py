"""`verification-worker dead-letters`: look at what could not be processed, replay it, drop it.

Nobody's data is shown: what is withheld can still be asked for by who knows it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from worker.admin.letter_facts import LETTER_COLUMNS, letter_facts, letter_row
from worker.cli.inputs import DryRun, Yes, agreed, moment
from worker.cli.mistakes import UserMistake, complain, open_database, open_dead_letters
from worker.cli.tables import AsJson, counted, note, print_facts, print_json, print_table
from worker.core.operations import REPLAYED_PER_SECOND
from worker.settings import BrokerSettings, ToolSettings, load
from worker.telemetry.clock import SystemClock, today

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from worker.deadletters.reading import Known
    from worker.deadletters.selecting import Acting, Filters, Selection

app = typer.Typer(no_args_is_help=True, help="What could not be processed: verification.dead.")

Reason = Annotated[str | None, typer.Option(help="Only with this reason: a code, see `list`.")]
Source = Annotated[str | None, typer.Option(help="Only of this publishing system.")]
Since = Annotated[
    str | None, typer.Option(help="Only first seen since: 2026-11-27T08:00:00Z, or 2h, 3d ago.")
]
Until = Annotated[str | None, typer.Option(help="Only first seen before.")]
RequestId = Annotated[str | None, typer.Option(help="Only with this request id or message id.")]
Limit = Annotated[int | None, typer.Option(min=1, help="The oldest so many only.")]


@app.command(name="list")
def list_letters(
    reason: Reason = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    request_id: RequestId = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the oldest first.")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """List dead letters; the queue stays as it was.

    For a moment the letters are held: two tools cannot look at the same time.
    """
    filters = _filters(reason, source, since, until, request_id)
    found = _select(filters, limit)
    _print(found, as_json=as_json)
    note(f"{len(found.chosen)} shown of {found.matching} that match; {_seen(found)}")


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="[REQUEST_ID|MESSAGE_ID]")] = None,
    reason: Reason = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="The oldest so many.")] = 10,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the headers and masked bodies of the dead letters that are meant; 1 if there is none.

    Those without an id are found by their reason, source and time.
    """
    from worker.deadletters.selecting import bodies

    filters = _filters(reason, source, since, until, name)
    if filters == _filters(None, None, None, None, None):
        raise UserMistake("show needs an id, or --reason, --source, --since or --until")
    with open_dead_letters(load(BrokerSettings)) as (queue, reader):
        shown = bodies(queue, reader, filters, limit, today())
    if not shown:
        complain("no such dead letter: see `verification-worker dead-letters list`")
        sys.exit(1)
    _print_letters(shown, SystemClock().now(), as_json=as_json)


@app.command()
def replay(
    reason: Reason = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    request_id: RequestId = None,
    limit: Limit = None,
    rate: Annotated[
        float, typer.Option(min=0.1, max=1000, help="Messages per second.")
    ] = REPLAYED_PER_SECOND,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Publish dead letters to the requests queue again, as their publishers sent them.

    A letter leaves this queue when the broker has confirmed its message: a crash in between
    leaves it in both, and the ledger answers the second one. A finished request is not called
    again: its stored outcome is announced once more.
    """
    filters = _filters(reason, source, since, until, request_id)
    settings = load(ToolSettings)
    found = _select(filters, limit)
    for words in _prospects(found.chosen, settings):
        note(words)
    if _agreed("replay", found, dry_run=dry_run, yes=yes, as_json=as_json):
        _act("replayed", found, lambda acting: acting.replay(found.chosen, rate), as_json=as_json)


@app.command()
def drop(
    reason: Reason = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    request_id: RequestId = None,
    limit: Limit = None,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters for good; rows and events of their requests stay as they are."""
    found = _select(_filters(reason, source, since, until, request_id), limit)
    note(f"{counted(len(found.chosen), 'dead letter')} chosen; {_seen(found)}")
    if _agreed("drop", found, dry_run=dry_run, yes=yes, as_json=as_json):
        _act("dropped", found, lambda acting: acting.drop(found.chosen), as_json=as_json)


def _print_letters(
    letters: Sequence[tuple[Known, object]], now: datetime, *, as_json: bool
) -> None:
    """Print letters with their masked bodies, as JSON an array of objects."""
    if as_json:
        print_json([{**letter_facts(known, now), "body": body} for known, body in letters])
        return
    for place, (known, body) in enumerate(letters):
        if place:
            typer.echo()
        print_facts(letter_facts(known, now), as_json=False)
        typer.echo()
        print_json(body)


def _select(filters: Filters, limit: int | None) -> Selection[Known]:
    from worker.deadletters.selecting import select

    with open_dead_letters(load(BrokerSettings)) as (queue, reader):
        return select(queue, reader.read, filters.match, limit)


def _act(
    verb: str, found: Selection[Known], act: Callable[[Acting[Known]], None], *, as_json: bool
) -> None:
    """Do it, and say to how many it was done, however it ends."""
    from worker.deadletters.selecting import Acting

    with open_dead_letters(load(BrokerSettings)) as (queue, reader):
        acting = Acting(queue, reader.read, SystemClock())
        try:
            act(acting)
        finally:
            print_facts({verb: acting.done, "of": len(found.chosen)}, as_json=as_json)


def _filters(
    reason: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    request_id: str | None,
) -> Filters:
    from worker.deadletters.reading import REASONS, UNKNOWN
    from worker.deadletters.selecting import Filters

    if reason is not None and reason not in REASONS | {UNKNOWN}:
        raise UserMistake(f"--reason: must be one of {', '.join(sorted(REASONS | {UNKNOWN}))}")
    now = SystemClock().now()
    return Filters(
        request_id, reason, source, moment("--since", since, now), moment("--until", until, now)
    )


def _prospects(chosen: Sequence[Known], settings: ToolSettings) -> Iterator[str]:
    """Say what a replay will do, before it does: the ledger knows what is finished."""
    from worker.deadletters.prospects import prospects
    from worker.store.inquiry import PostgresInquiry

    with open_database(settings, "dead-letters") as engine:
        counts = prospects(chosen, PostgresInquiry(engine).finished)
    yield f"{counted(len(chosen), 'dead letter')} chosen"
    yield from (f"{count:,} of them {words}" for words, count in counts.items() if count)


def _agreed(verb: str, found: Selection[Known], *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    what, show = counted(len(found.chosen), "dead letter"), lambda: _print(found, as_json=as_json)
    yes = yes or not found.chosen
    return agreed(verb, what, show, dry_run=dry_run, yes=yes, as_json=as_json)


def _print(found: Selection[Known], *, as_json: bool) -> None:
    now = SystemClock().now()
    print_table(LETTER_COLUMNS, [letter_row(known, now) for known in found.chosen], as_json=as_json)


def _seen(found: Selection[Known]) -> str:
    if found.all_seen:
        return f"{found.seen} in the queue"
    return f"the queue holds more than the {found.seen} oldest, which were looked at"
