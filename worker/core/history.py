"""The history of one request as the tables tell it, for a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from worker.core.outcome import CallClass, Charged, ErrorKind, Outcome
    from worker.core.request import Mode


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call to the provider, as the ledger has it."""

    number: int
    worker: str
    started_at: datetime
    finished_at: datetime | None
    call_class: CallClass | None
    """None while it runs, or nobody knows."""
    charged: Charged
    http_status: int | None
    status: str | None
    provider_request_id: str | None
    sends: int
    milliseconds: int | None


@dataclass(frozen=True, slots=True)
class History:
    """One request with its calls; `read_at` is the database's time of the reading."""

    request_id: str
    source: str
    check_type: int | None
    mode: Mode
    state: str
    """working, waiting or done."""
    lease_owner: str | None
    lease_until: datetime | None
    attempts: int
    in_doubt_calls: int
    charged: Charged
    outcome: Outcome | None
    error_kind: ErrorKind | None
    error_message: str | None
    reused_from: str | None
    requested_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None
    event_sent_at: datetime | None
    settled_at: datetime | None
    cleared_at: datetime | None
    read_at: datetime
    calls: tuple[CallRecord, ...]

    @property
    def open_call(self) -> CallRecord | None:
        """The call whose end is not recorded."""
        return next((call for call in self.calls if call.finished_at is None), None)
