"""Requests by what people ask for: the newest first, without anybody's data. Any thread."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.core.outcome import Charged, ErrorKind, Outcome
from worker.core.request import Mode
from worker.store.engine import execute
from worker.store.rows import from_columns

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine, TextClause

# By (source, requested_at) or requested_at, whichever fits: each has an index.
_SELECT = """
SELECT request_id, mode, source, check_type, state, outcome, error_kind, charged, calls,
       requested_at, completed_at
  FROM verification.request WHERE {conditions}
 ORDER BY requested_at DESC, request_id LIMIT :limit
"""

_CONDITIONS = {
    "since": "requested_at >= :since",
    "until": "requested_at < :until",
    "outcome": "outcome = :outcome",
    "error_kind": "error_kind = :error_kind",
    "source": "source = :source",
    "subjects": "subject_digest = ANY(:subjects)",
}


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests are meant; None is any."""

    since: datetime | None = None
    """First claimed at this time or later."""
    outcome: Outcome | None = None
    error_kind: ErrorKind | None = None
    source: str | None = None
    until: datetime | None = None
    """First claimed before this time."""
    subjects: tuple[bytes, ...] | None = None
    """About one person: the digests of an ID number (`core.digests.Digests.subjects`)."""


@dataclass(frozen=True, slots=True)
class ListedRequest:
    """One request, as a row of a list."""

    request_id: str
    mode: Mode
    source: str
    check_type: int | None
    state: str
    """working, waiting or done."""
    outcome: Outcome | None
    error_kind: ErrorKind | None
    charged: Charged
    calls: int
    requested_at: datetime
    completed_at: datetime | None


def selection(wanted: RequestFilter) -> tuple[TextClause, dict[str, object]]:
    """Return the statement and its parameters, but for the limit."""
    given = {name: value for name, value in asdict(wanted).items() if value is not None}
    if wanted.subjects is not None:
        given["subjects"] = list(wanted.subjects)
    conditions = " AND ".join(_CONDITIONS[name] for name in given) or "true"
    return text(_SELECT.format(conditions=conditions)), given


def list_requests(engine: Engine, wanted: RequestFilter, limit: int) -> list[ListedRequest]:
    """Return the newest requests that are meant. Errors as of `ports.Ledger`."""
    statement, given = selection(wanted)
    rows = execute(engine, statement, limit=limit, **given)
    return [
        from_columns(
            ListedRequest,
            row,
            mode=Mode(row.mode),
            outcome=None if row.outcome is None else Outcome(row.outcome),
            error_kind=None if row.error_kind is None else ErrorKind(row.error_kind),
            charged=Charged(row.charged),
        )
        for row in rows
    ]
