"""`verification-worker erase`: what is kept of a person goes, on that person's demand."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from worker.amqp.declare import depths
from worker.amqp.topology import request_queues
from worker.cli.inputs import Order, Yes, id_card, id_card_lines
from worker.cli.letters import DEAD_LETTERS, letter_reader
from worker.cli.mistakes import UserMistake, broker_mistakes, open_database
from worker.cli.tables import AsJson, counted, note, print_facts
from worker.deadletters.reading import Known
from worker.deadletters.selecting import Selection, select_about
from worker.settings import EraseSettings, load
from worker.store.erasure import PostgresErasure, RequestsOfPerson

# A shorter one would be found in the dead letters of others.
_SHORTEST = 8


def erase(
    *,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not check the numbers first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what stands there.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase persons by their ID numbers, one a line on standard input (never an argument).

    Their finished requests lose masks, digests, context and texts, in both modes; outcome, charge,
    ids, times and calls stay, for the invoice. Their dead letters are dropped. Exit code 1:
    something cannot be erased yet, and what it says tells when it can.
    """
    settings = load(EraseSettings)
    numbers = _numbers(unchecked=unchecked)
    subjects = [each for number in numbers for each in settings.digests.subjects(number)]
    with open_database(settings, "erase") as engine:
        erasure = PostgresErasure(engine)
        rows = erasure.find(subjects)
        reader = letter_reader()
        with DEAD_LETTERS.opened() as queue:
            about = select_about(queue, reader, numbers)
        waiting = _waiting(settings)
        requests, letters, moved = rows.erasable, len(about.chosen), 0
        what = f"{counted(requests, 'request')} and {counted(letters, 'dead letter')} for good"
        order = Order(dry_run, yes or not (requests or letters), as_json)
        if order.agreed("erase", what, lambda: None):
            with DEAD_LETTERS.acting() as acting:
                acting.drop(about.chosen)
            moved, letters = letters - acting.done, acting.done
            requests = erasure.erase(subjects)
        else:
            note("nothing was erased")
    facts = {"requests": requests, "dead_letters": letters}
    left = {"requests_open": rows.open, "events_unsent": rows.unsent}
    print_facts({**facts, **left}, as_json=as_json)
    problems = list(_left(rows, about, moved))
    for words in problems:
        note(words)
    if waiting:
        # No failure: where requests come in all day there is always one on its way.
        note(f"{counted(waiting, 'message')} in the queues cannot be looked at")
    sys.exit(1 if problems else 0)


def _numbers(*, unchecked: bool) -> list[str]:
    """Return the normalised numbers."""
    numbers = []
    for place, line in enumerate(id_card_lines(), 1):
        number = id_card(line, unchecked=unchecked, where=f"line {place}: ")
        if len(number) < _SHORTEST:
            raise UserMistake(f"line {place}: the ID number is too short to tell a person by")
        numbers.append(number)
    if not numbers:
        raise UserMistake("nothing to erase: give ID numbers on standard input, one a line")
    return numbers


def _waiting(settings: EraseSettings) -> int:
    """Count the messages in the queues of requests and retries: whose they are nobody can tell."""
    with broker_mistakes():
        queues = request_queues(settings.retry_delays)
        return sum(each.ready or 0 for each in depths(settings.amqp_url.get_secret_value(), queues))


def _left(rows: RequestsOfPerson, letters: Selection[Known], moved: int) -> Iterator[str]:
    """Say what of the persons may still stand somewhere, and what to do about it."""
    if moved:
        yield f"{counted(moved, 'dead letter')} replayed or put back meanwhile: erase again"
    if rows.open:
        yield f"{counted(rows.open, 'request')} not finished: erase again when they are"
    if rows.unsent:
        events = counted(rows.unsent, "event")
        yield f"{events} not known to be sent: `verification-worker outbox flush`, then erase again"
    if letters.closed:
        closed = counted(letters.closed, "dead letter")
        yield f"{closed} encrypted to a key that is not here: set MESSAGE_KEYS and erase again"
    if not letters.all_seen:
        yield f"only the {letters.seen} oldest dead letters were looked at: erase again"
