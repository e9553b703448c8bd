"""`verification-worker unrouted`: result events that no queue was bound for, and `events resend`.

Events carry no personal data but what a publisher has put into `context`, which is never shown.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from worker.cli.inputs import moment
from worker.cli.mistakes import UserMistake, broker_mistakes, complain, open_database
from worker.cli.tables import AsJson, counted, note, print_facts, print_table
from worker.contract.names import RESULTS, UNROUTED
from worker.core.masking import scrub
from worker.settings import BrokerSettings, DatabaseSettings, load
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.amqp.dead_letter_queue import DeadLetterQueue, HeldDeadLetters
    from worker.core.delivery import Letter

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


@dataclass(frozen=True, slots=True)
class UnroutedEvent:
    """What may be shown of an event; None where it does not say it."""

    request_id: str | None
    source: str | None
    outcome: str | None
    routing_key: str
    published: datetime | None
    event_id: str | None

    @classmethod
    def of(cls, letter: Letter) -> UnroutedEvent:
        """Read a message of the queue, whoever put it there."""
        try:
            body = orjson.loads(letter.delivery.body)
        except orjson.JSONDecodeError:
            body = {}
        told: dict[str, Any] = body if isinstance(body, dict) else {}

        def text(name: str) -> str | None:
            return scrub(told[name], None) if isinstance(told.get(name), str) else None

        routing_key, seconds = letter.origin
        published = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
        key, event_id = scrub(routing_key, None), letter.delivery.message_id
        return cls(text("requestId"), text("source"), text("outcome"), key, published, event_id)

    def row(self, now: datetime) -> tuple[object, ...]:
        """Return the cells under `_COLUMNS`."""
        age = None if self.published is None else now - self.published
        columns = (self.request_id, self.source, self.outcome, self.routing_key)
        return (*columns, self.published, age)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which events are meant; None is any."""

    source: str | None
    outcome: str | None
    routing_key: str | None
    since: datetime | None
    until: datetime | None

    def match(self, event: UnroutedEvent) -> bool:
        at = event.published
        return (
            self.source in (None, event.source)
            and self.outcome in (None, event.outcome)
            and self.routing_key in (None, event.routing_key)
            and (self.since is None or (at is not None and at >= self.since))
            and (self.until is None or (at is not None and at < self.until))
        )


def _wanted(
    source: str | None, outcome: str | None, key: str | None, since: str | None, until: str | None
) -> _Wanted:
    now = SystemClock().now()
    times = moment("--since", since, now), moment("--until", until, now)
    return _Wanted(source, outcome, key, *times)


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

    def again(held: HeldDeadLetters, letter: Letter) -> None:
        held.pass_on(letter, RESULTS)
        held.acknowledge(letter)

    done = _each(wanted, again)
    back = len(_look(wanted))
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
        done = _each(wanted, lambda held, letter: held.acknowledge(letter))
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
    print_table(_COLUMNS, [each.row(now) for each in found], as_json=as_json)  # type: ignore[misc]


def _agreed(verb: str, wanted: _Wanted, *, dry_run: bool, yes: bool, as_json: bool) -> bool:
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


def _look(wanted: _Wanted) -> list[UnroutedEvent]:
    with _queue() as queue, queue.hold() as held:
        events = [UnroutedEvent.of(letter) for letter in held.letters()]
    return [each for each in events if wanted.match(each)]


def _each(wanted: _Wanted, act: Callable[[HeldDeadLetters, Letter], None]) -> int:
    """Do it with each that is meant and stands there now; those that come back are not new ones."""
    left = Counter(_look(wanted))
    done = 0
    with _queue() as queue, queue.hold() as held:
        for letter in held.letters():
            event = UnroutedEvent.of(letter)
            if left[event] > 0:
                left[event] -= 1
                act(held, letter)
                done += 1
    return done


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
