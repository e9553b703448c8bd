"""What a person's tools ask about requests; they change nothing. Any thread."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, TextClause, text

from worker.core.operations import CallRecord, History
from worker.core.outcome import Charged, ErrorKind, Outcome
from worker.core.request import Mode
from worker.store.engine import execute
from worker.store.rows import UNSENT, from_columns

# One statement, so that the request and its calls are of one moment.
HISTORY = text("""
SELECT r.request_id, r.source, r.check_type, r.mode, r.state, r.lease_owner, r.lease_until,
       r.attempts, r.in_doubt_calls, r.charged, r.outcome, r.error_kind, r.error_message,
       r.error_fields,
       r.reused_from, r.requested_at, r.expires_at, r.completed_at, r.event_sent_at,
       r.settled_at, r.cleared_at, coalesce(r.lane, 'live') AS lane, now() AS read_at,
       c.call_number AS number, c.worker,
       c.started_at, c.finished_at, c.class AS call_class, c.http_status, c.status,
       c.provider_request_id, c.charged AS call_charged, c.sends, c.milliseconds,
       c.not_sent_because
  FROM verification.request AS r
  LEFT JOIN verification.provider_call AS c USING (request_id)
 WHERE request_id = :request_id
 ORDER BY c.call_number
""")

STATES = text("""
SELECT request_id, state FROM verification.request
 WHERE request_id = ANY(CAST(:ids AS text[]))
""")

UNSENT_EVENTS = text(f"""
SELECT request_id, mode, source, outcome, completed_at, event_retry_at AS held_until,
       now() AS read_at
  FROM verification.request WHERE {UNSENT} ORDER BY completed_at LIMIT :limit
""")

# Of one mode: each mode's events are its own workers' (`store.outbox`).
COUNT_UNSENT = text(f"SELECT count(*) FROM verification.request WHERE {UNSENT} AND mode = :mode")

# Ids in one array of a statement.
_CHUNK = 5_000


class PostgresInquiry:
    """Reads the tables of requests. Errors as of `ports.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def history(self, request_id: str) -> History | None:
        """Return the history of one request; None where its id is unknown."""
        rows = execute(self.engine, HISTORY, request_id=request_id)
        if not rows:
            return None
        calls = [
            from_columns(CallRecord, row, charged=row.call_charged)
            for row in rows
            if row.number is not None
        ]
        refused = rows[0].error_fields or ()
        return from_columns(History, rows[0], error_fields=refused, calls=calls)

    def finished(self, request_ids: Sequence[str]) -> dict[str, bool]:
        """Say of each known request whether it has its outcome; unknown ids are left out."""
        states: dict[str, bool] = {}
        for start in range(0, len(request_ids), _CHUNK):
            ids = list(request_ids[start : start + _CHUNK])
            for row in execute(self.engine, STATES, ids=ids):
                states[row.request_id] = row.state == "done"
        return states

    def unsent(self, limit: int) -> Sequence[Row[Any]]:
        """Return the oldest results whose event is not known to be sent.

        Until `held_until` a relay has the event; it may have crashed.
        """
        return execute(self.engine, UNSENT_EVENTS, limit=limit)

    def count_unsent(self, mode: Mode) -> int:
        """Count a mode's results whose event is not known to be sent."""
        ((count,),) = execute(self.engine, COUNT_UNSENT, mode=mode.value)
        return int(count)


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
    # A batch is claimed at one time, and may be longer than a page.
    "last_at": "requested_at <= :last_at",
    "last_id": "(requested_at < :last_at OR request_id > :last_id)",
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
    last_at: datetime | None = None
    """With `last_id`: those that come after this one in the list."""
    last_id: str | None = None


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
    return [from_columns(ListedRequest, row) for row in rows]
