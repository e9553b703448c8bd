"""`verification-worker explain`: the timeline of one request, and where it stands."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from worker.admin.timeline import Moment, timeline, verdict
from worker.cli.letters import DEAD_LETTERS, UNROUTED_EVENTS
from worker.cli.mistakes import UserMistake, complain, open_database
from worker.cli.tables import AsJson, note, print_json, print_table, render
from worker.contract.names import UNROUTED, rfc3339
from worker.core.operations import History
from worker.core.outcome import Outcome
from worker.deadletters.reading import Known
from worker.deadletters.selecting import EventFilters, Filters
from worker.settings import ToolSettings, load
from worker.store.inquiry import PostgresInquiry

_FIELDS = (
    "request_id source check_type mode state outcome error_kind error_fields reused_from charged "
    "attempts in_doubt_calls lease_owner lease_until requested_at expires_at completed_at "
    "event_sent_at settled_at cleared_at"
).split()


def explain(
    request_id: Annotated[str, typer.Argument(help="As the publisher sent it.")],
    *,
    as_json: AsJson = False,
    dead_letters: Annotated[
        bool,
        typer.Option(help="Look among dead letters and unrouted events too; they stay there."),
    ] = True,
) -> None:
    """Print what happened to one request, call by call, and where it stands now.

    RETRY_DELAYS as the workers have it names the queue that a waiting request returns from. Exit
    code 1: no worker has seen this id.
    """
    if not request_id.isprintable():
        raise UserMistake("REQUEST_ID: must be printable characters")
    settings = load(ToolSettings)
    history = _history(settings, request_id)
    outcome = history.outcome if history else None
    asked = _at_the_broker(request_id, outcome) if dead_letters else None
    letters, unrouted = asked or (None, None)
    if history is None:
        also = "; a dead letter has it: see dead-letters show" if letters else ""
        complain(f"no worker has claimed a request with this id{also}")
        sys.exit(1)
    moments = timeline(history, settings.retry_delays)
    words = verdict(history, settings.retry_delays) + _also_at_the_broker(letters, unrouted)
    if as_json:
        print_json(_document(history, moments, words, letters) | {"unrouted_events": unrouted})
        return
    rows = [(rfc3339(each.at), each.event, each.details) for each in moments]
    print_table(("at", "event", "details"), rows, as_json=False, words_last=True)
    typer.echo()
    render(Text(words, "bold"))


def _history(settings: ToolSettings, request_id: str) -> History | None:
    with open_database(settings, "explain") as engine:
        return PostgresInquiry(engine).history(request_id)


def _at_the_broker(request_id: str, outcome: Outcome | None) -> tuple[list[Known], int] | None:
    """Return its dead letters, and how many copies of its event reached nobody.

    A confirm does not tell that: the alternate exchange takes what no queue is bound for. None
    where the broker cannot be asked: the tables still speak.
    """
    try:
        letters = DEAD_LETTERS.choose(Filters(name=request_id).match).chosen
        if outcome is None:
            return letters, 0
        events = EventFilters(request_id, outcome=outcome)
        return letters, UNROUTED_EVENTS.choose(events.match).matching
    except UserMistake as mistake:
        note(f"the dead letters and unrouted events were not looked at: {mistake}")
        return None


def _also_at_the_broker(letters: list[Known] | None, unrouted: int | None) -> str:
    words = ""
    if unrouted:
        words += f", but nobody was bound for it: it stands in {UNROUTED} (`unrouted replay`)"
    if letters:
        reasons = ", ".join(sorted({known.reason for known in letters}))
        words += f"; it stands in the dead-letter queue ({reasons})"
    return words


def _document(
    history: History, moments: list[Moment], words: str, letters: list[Known] | None
) -> dict[str, object]:
    return {
        **{name: getattr(history, name) for name in _FIELDS},
        "calls": [
            {"class" if name == "call_class" else name: value for name, value in facts.items()}
            for facts in map(asdict, history.calls)
        ],
        "timeline": [asdict(each) for each in moments],
        "dead_letters": None if letters is None else [known.reason for known in letters],
        "verdict": words,
    }
