"""What a person's tools ask about requests; they change nothing. Any thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from worker.core.history import CallRecord, History
from worker.core.outcome import CallClass, Charged, ErrorKind, Outcome
from worker.core.request import Mode
from worker.store.engine import connection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Engine, Row

# One statement, so that the request and its calls are of one moment.
STORY = text("""
SELECT r.request_id, r.source, r.check_type, r.mode, r.state, r.lease_owner, r.lease_until,
       r.attempts, r.in_doubt_calls, r.charged, r.outcome, r.error_kind, r.error_message,
       r.reused_from, r.requested_at, r.expires_at, r.completed_at, r.event_sent_at,
       r.settled_at, r.cleared_at, now() AS read_at, c.call_number, c.worker, c.started_at,
       c.finished_at, c.class AS call_class, c.http_status, c.status, c.provider_request_id,
       c.charged AS call_charged, c.sends, c.milliseconds
  FROM verification.request AS r
  LEFT JOIN verification.provider_call AS c USING (request_id)
 WHERE request_id = :request_id
 ORDER BY c.call_number
""")

STATES = text("""
SELECT request_id, state FROM verification.request
 WHERE request_id = ANY(CAST(:ids AS text[]))
""")

UNSENT = text("""
SELECT request_id, mode, source, outcome, completed_at, event_retry_at, now() AS read_at
  FROM verification.request
 WHERE completed_at IS NOT NULL AND event_sent_at IS NULL
 ORDER BY completed_at LIMIT :limit
""")

# Of one mode: each mode's events are its own workers' (`store.outbox`).
COUNT_UNSENT = text("""
SELECT count(*) FROM verification.request
 WHERE completed_at IS NOT NULL AND event_sent_at IS NULL AND mode = :mode
""")

# Ids in one array of a statement.
_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class UnsentEvent:
    """A result whose event nobody is known to have sent."""

    request_id: str
    mode: Mode
    source: str
    outcome: Outcome
    completed_at: datetime
    held_until: datetime | None
    """Until when a relay has it; it may have crashed."""
    read_at: datetime


class PostgresInquiry:
    """Reads the tables of requests. Errors as of `ports.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def history(self, request_id: str) -> History | None:
        """Return the history of one request; None where its id is unknown."""
        with connection(self.engine) as database:
            rows = database.execute(STORY, {"request_id": request_id}).all()
        if not rows:
            return None
        return _history(rows[0], [_call(row) for row in rows if row.call_number is not None])

    def finished(self, request_ids: Sequence[str]) -> dict[str, bool]:
        """Say of each known request whether it has its outcome; unknown ids are left out."""
        states: dict[str, bool] = {}
        with connection(self.engine) as database:
            for start in range(0, len(request_ids), _CHUNK):
                ids = {"ids": list(request_ids[start : start + _CHUNK])}
                for row in database.execute(STATES, ids):
                    states[row.request_id] = row.state == "done"
        return states

    def unsent(self, limit: int) -> list[UnsentEvent]:
        """Return the oldest results whose event is not known to be sent."""
        with connection(self.engine) as database:
            rows = database.execute(UNSENT, {"limit": limit}).all()
        return [
            UnsentEvent(
                row.request_id,
                Mode(row.mode),
                row.source,
                Outcome(row.outcome),
                row.completed_at,
                row.event_retry_at,
                row.read_at,
            )
            for row in rows
        ]

    def count_unsent(self, mode: Mode) -> int:
        """Count a mode's results whose event is not known to be sent."""
        with connection(self.engine) as database:
            return int(database.execute(COUNT_UNSENT, {"mode": mode.value}).scalar_one())


def _history(row: Row[Any], calls: list[CallRecord]) -> History:
    return History(
        row.request_id,
        row.source,
        row.check_type,
        Mode(row.mode),
        row.state,
        row.lease_owner,
        row.lease_until,
        row.attempts,
        row.in_doubt_calls,
        Charged(row.charged),
        None if row.outcome is None else Outcome(row.outcome),
        None if row.error_kind is None else ErrorKind(row.error_kind),
        row.error_message,
        row.reused_from,
        row.requested_at,
        row.expires_at,
        row.completed_at,
        row.event_sent_at,
        row.settled_at,
        row.cleared_at,
        row.read_at,
        tuple(calls),
    )


def _call(row: Row[Any]) -> CallRecord:
    return CallRecord(
        row.call_number,
        row.worker,
        row.started_at,
        row.finished_at,
        None if row.call_class is None else CallClass(row.call_class),
        Charged(row.call_charged),
        row.http_status,
        row.status,
        row.provider_request_id,
        row.sends,
        row.milliseconds,
    )
