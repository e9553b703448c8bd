"""How dead letters look: a row each, or one with all that may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from worker.cli.tables import Cell, print_facts, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from worker.deadletters.reading import Known

LETTER_COLUMNS = (
    "request_id",
    "message_id",
    "source",
    "reason",
    "encrypted",
    "attempts",
    "last_error",
    "first_seen",
    "age",
)


def letter_row(known: Known, now: datetime) -> tuple[Cell, ...]:
    """Return a letter's cells under `LETTER_COLUMNS`."""
    seen = known.first_seen
    return (
        known.request_id,
        known.message_id,
        known.source,
        known.reason,
        known.encrypted,
        known.attempts,
        known.last_error,
        seen,
        None if seen is None else now - seen,
    )


def print_letters(letters: Sequence[tuple[Known, object]], now: datetime, *, as_json: bool) -> None:
    """Print letters with their masked bodies, as JSON an array of objects."""
    if as_json:
        print_json([{**_facts(known, now), "body": body} for known, body in letters])
        return
    for place, (known, body) in enumerate(letters):
        if place:
            typer.echo()
        print_facts(_facts(known, now), as_json=False)
        typer.echo()
        print_json(body)


def _facts(known: Known, now: datetime) -> dict[str, Cell]:
    return {
        **dict(zip(LETTER_COLUMNS, letter_row(known, now), strict=True)),
        "correlation_id": known.correlation_id,
        "reply_to": known.reply_to,
        "app_id": known.app_id,
        "user_id": known.user_id,
        "routing_key": known.routing_key,
        "traceparent": known.traceparent,
        "other_headers": known.other_headers,
        "bytes": known.size,
    }
