"""`verification-worker explain`: the timeline of one request, and where it stands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from worker.cli import database
from worker.cli.errors import UserMistake
from worker.cli.tables import iso, note, print_json, print_table, render
from worker.cli.timeline import timeline, verdict
from worker.settings import load
from worker.settings.tools import ToolSettings

if TYPE_CHECKING:
    from worker.cli.timeline import Moment
    from worker.core.operations import History
    from worker.deadletters.reading import Known


def explain(
    request_id: Annotated[str, typer.Argument(help="As the publisher sent it.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    dead_letters: Annotated[
        bool, typer.Option(help="Look for it among the dead letters too; they stay as they are.")
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
    letters = _letters(settings, request_id) if dead_letters else None
    if history is None:
        also = "; a dead letter has it: see dead-letters show" if letters else ""
        note(f"verification-worker: no worker has claimed a request with this id{also}")
        sys.exit(1)
    moments = timeline(history, settings.retry_delays)
    words = verdict(history, settings.retry_delays) + _standing(letters)
    if as_json:
        print_json(_document(history, moments, words, letters))
        return
    rows = [(iso(each.at), each.event, each.details) for each in moments]
    print_table(("at", "event", "details"), rows, as_json=False, words_last=True)
    typer.echo()
    render(Text(words, "bold"))


def _history(settings: ToolSettings, request_id: str) -> History | None:
    from worker.store.inquiry import PostgresInquiry

    with database.opened(settings, "explain") as engine:
        return PostgresInquiry(engine).history(request_id)


def _letters(settings: ToolSettings, request_id: str) -> list[Known] | None:
    """Return its dead letters; None where they cannot be asked for: the tables still speak."""
    from worker.cli.dead_letter_service import dead_letter_service
    from worker.deadletters.choosing import Filters

    try:
        with dead_letter_service(settings) as service:
            return service.survey(Filters(name=request_id), None).chosen
    except UserMistake as mistake:
        note(f"the dead letters were not looked at: {mistake}")
        return None


def _standing(letters: list[Known] | None) -> str:
    if not letters:
        return ""
    reasons = ", ".join(sorted({known.reason for known in letters}))
    return f"; it stands in the dead-letter queue ({reasons})"


def _document(
    history: History, moments: list[Moment], words: str, letters: list[Known] | None
) -> dict[str, object]:
    return {
        "request_id": history.request_id,
        "source": history.source,
        "check_type": history.check_type,
        "mode": history.mode,
        "state": history.state,
        "outcome": history.outcome,
        "error_kind": history.error_kind,
        "reused_from": history.reused_from,
        "charged": history.charged,
        "attempts": history.attempts,
        "in_doubt_calls": history.in_doubt_calls,
        "lease_owner": history.lease_owner,
        "lease_until": history.lease_until,
        "requested_at": history.requested_at,
        "expires_at": history.expires_at,
        "completed_at": history.completed_at,
        "event_sent_at": history.event_sent_at,
        "settled_at": history.settled_at,
        "cleared_at": history.cleared_at,
        "calls": [
            {
                "number": call.number,
                "worker": call.worker,
                "started_at": call.started_at,
                "finished_at": call.finished_at,
                "class": call.call_class,
                "charged": call.charged,
                "http_status": call.http_status,
                "status": call.status,
                "provider_request_id": call.provider_request_id,
                "sends": call.sends,
                "milliseconds": call.milliseconds,
            }
            for call in history.calls
        ],
        "timeline": [
            {"at": each.at, "event": each.event, "details": each.details} for each in moments
        ],
        "dead_letters": None if letters is None else [known.reason for known in letters],
        "verdict": words,
    }
