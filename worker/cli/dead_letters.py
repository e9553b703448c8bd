"""`verification-worker dead-letters`: look at what could not be processed, replay it, drop it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from worker.admin.letter_facts import letter_facts
from worker.cli.inputs import Order, moment, with_groups
from worker.cli.letters import DEAD_LETTERS, letter_reader
from worker.cli.mistakes import UserMistake, complain, open_database
from worker.cli.tables import AsJson, counted, note, print_facts, print_json
from worker.core.operations import REPLAYED_PER_SECOND
from worker.deadletters.reading import REASONS, UNKNOWN, Known
from worker.deadletters.selecting import Acting, Filters, Selection, bodies, prospects
from worker.settings import ToolSettings, load
from worker.store.inquiry import PostgresInquiry
from worker.telemetry.clock import SystemClock, today

dead_letters = typer.Typer(
    no_args_is_help=True, help="What could not be processed: verification.dead."
)

Limit = Annotated[int | None, typer.Option(min=1, help="The oldest so many only.")]


@dataclass(frozen=True)
class Facts:
    """What a letter must be."""

    reason: Annotated[
        str | None, typer.Option(help="Only with this reason: a code, see `list`.")
    ] = None
    source: Annotated[str | None, typer.Option(help="Only of this publishing system.")] = None
    since: Annotated[
        str | None,
        typer.Option(help="Only first seen since: 2026-11-27T08:00:00Z, or 2h, 3d ago."),
    ] = None
    until: Annotated[str | None, typer.Option(help="Only first seen before.")] = None

    def filters(self, name: str | None) -> Filters:
        """Return them as filters, with a request id or a message id."""
        if self.reason is not None and self.reason not in REASONS | {UNKNOWN}:
            raise UserMistake(f"--reason: must be one of {', '.join(sorted(REASONS | {UNKNOWN}))}")
        now = SystemClock().now()
        times = moment("--since", self.since, now), moment("--until", self.until, now)
        return Filters(name, self.reason, self.source, *times)


@dataclass(frozen=True)
class WantedLetters(Facts):
    """Which letters are meant."""

    request_id: Annotated[
        str | None, typer.Option(help="Only with this request id or message id.")
    ] = None

    def match(self) -> Callable[[Known], bool]:
        """Return what tells them from others."""
        return self.filters(self.request_id).match


@dead_letters.command(name="list")
@with_groups
def list_letters(
    wanted: WantedLetters,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the oldest first.")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """List dead letters; the queue stays as it was.

    For a moment the letters are held: two tools cannot look at the same time.
    """
    found = DEAD_LETTERS.choose(wanted.match(), limit)
    DEAD_LETTERS.show(found.chosen, as_json=as_json)
    note(f"{len(found.chosen)} shown of {found.matching} that match; {_seen(found)}")


@dead_letters.command()
@with_groups
def show(
    facts: Facts,
    name: Annotated[str | None, typer.Argument(metavar="[REQUEST_ID|MESSAGE_ID]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The oldest so many.")] = 10,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the headers and masked bodies of the dead letters that are meant; 1 if there is none.

    Those without an id are found by their reason, source and time.
    """
    if name is None and facts == Facts():
        raise UserMistake("show needs an id, or --reason, --source, --since or --until")
    filters, reader = facts.filters(name), letter_reader()
    with DEAD_LETTERS.opened() as queue:
        letters = bodies(queue, reader, filters, limit, today())
    if not letters:
        complain("no such dead letter: see `verification-worker dead-letters list`")
        sys.exit(1)
    now = SystemClock().now()
    if as_json:
        print_json([{**letter_facts(known, now), "body": body} for known, body in letters])
        return
    for place, (known, body) in enumerate(letters):
        if place:
            typer.echo()
        print_facts(letter_facts(known, now), as_json=False)
        typer.echo()
        print_json(body)


@dead_letters.command()
@with_groups
def replay(
    wanted: WantedLetters,
    limit: Limit = None,
    rate: Annotated[
        float, typer.Option(min=0.1, max=1000, help="Messages per second.")
    ] = REPLAYED_PER_SECOND,
    *,
    order: Order,
) -> None:
    """Publish dead letters to the requests queue again, as their publishers sent them.

    A letter leaves this queue when the broker has confirmed its message: a crash in between
    leaves it in both, and the ledger answers the second one. A finished request is not called
    again: its stored outcome is announced once more.
    """
    match, settings = wanted.match(), load(ToolSettings)
    found = DEAD_LETTERS.choose(match, limit)
    for words in _prospects(found.chosen, settings):
        note(words)
    _act("replay", "replayed", found, order, lambda acting: acting.replay(found.chosen, rate))


@dead_letters.command()
@with_groups
def drop(wanted: WantedLetters, limit: Limit = None, *, order: Order) -> None:
    """Delete dead letters for good; rows and events of their requests stay as they are."""
    found = DEAD_LETTERS.choose(wanted.match(), limit)
    note(f"{counted(len(found.chosen), 'dead letter')} chosen; {_seen(found)}")
    _act("drop", "dropped", found, order, lambda acting: acting.drop(found.chosen))


def _act(
    verb: str,
    done: str,
    found: Selection[Known],
    order: Order,
    act: Callable[[Acting[Known]], None],
) -> None:
    """Do it where that is agreed to, and say to how many it was done, however it ends."""
    if DEAD_LETTERS.agreed(verb, found.chosen, order):
        with DEAD_LETTERS.acting() as acting:
            try:
                act(acting)
            finally:
                facts = {done: acting.done, "of": len(found.chosen)}
                print_facts(facts, as_json=order.as_json)


def _prospects(chosen: Sequence[Known], settings: ToolSettings) -> Iterator[str]:
    """Say what a replay will do, before it does: the ledger knows what is finished."""
    with open_database(settings, "dead-letters") as engine:
        counts = prospects(chosen, PostgresInquiry(engine).finished)
    yield f"{counted(len(chosen), 'dead letter')} chosen"
    yield from (f"{count:,} of them {words}" for words, count in counts.items() if count)


def _seen(found: Selection[Known]) -> str:
    if found.all_seen:
        return f"{found.seen} in the queue"
    return f"the queue holds more than the {found.seen} oldest, which were looked at"
