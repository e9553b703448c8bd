"""Who may work on a request: what the ledger is asked, and what it answers."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from worker.core.digests import Digest
from worker.core.masking import Masked
from worker.core.outcome import CallReport, Charged, Decision, ErrorKind, StoredResult
from worker.core.request import Lane


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where and how a sender wants its answer; checked and bounded."""

    reply_to: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """One request as the ledger sees it: digests and masks, no personal data."""

    request_id: str
    digests: tuple[Digest, ...]
    """Under the current key first, then under its fallbacks: a row may stand under any of them."""
    source: str
    check_type: int | None
    wants_call: bool
    """False where the request will be settled without paying: rejected or expired."""
    masked: Masked
    envelope: Envelope
    expires_at: datetime | None
    context: str | None
    published_at: datetime | None = None
    """When its publisher sent it; None where it did not say."""
    lane: Lane = Lane.LIVE
    warnings: tuple[str, ...] = ()
    """Paths of fields that are odd and not refused; for the log alone."""

    @property
    def digest(self) -> Digest:
        """What its row keeps."""
        return self.digests[0]


@dataclass(frozen=True, slots=True)
class Granted:
    """The request is ours until the lease lapses; the intent to call is committed.

    `grant` counts the claims of this request; together with `owner` it fences a stale owner out:
    what comes late is still booked, and an answer that comes late still ends the request.
    `call_number` is None where no call may be made: none was wanted, it has expired by the
    database's clock, or too much is in doubt.
    """

    request_id: str
    grant: int
    call_number: int | None
    attempts: int
    """Attempts that counted, before this one."""
    calls: int
    """Calls in the ledger, with this one."""
    in_doubt_calls: int
    charged: Charged
    """The worst of the calls before this one."""
    requested_at: datetime
    wait: float = 0.0
    """Seconds after the claim at which its call may start: its place in the shared quota.

    Below 0 where the place had passed already when the claim was answered.
    """
    owner: str = ""
    """Worker process and batch: what its call stands under in the ledger."""
    read_at: datetime | None = field(default=None, compare=False)
    """The database's clock at the claim, which judges deadlines and ages."""
    reuse: StoredResult | None = None
    """An answer that was paid for, of the same person and data: no call is needed."""

    @property
    def age(self) -> float:
        """Seconds since its first claim, by the database's clock."""
        return (self.read_at - self.requested_at).total_seconds() if self.read_at else 0.0


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The request has its outcome: announce it again, without a call."""

    stored: StoredResult


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Somebody works on it now, or its next attempt is not due yet."""

    wait: float = 0.0
    """Seconds until it is worth asking again; 0: soon."""


@dataclass(frozen=True, slots=True)
class Conflicting:
    """The id is known, with other data or from another mode: answered, nothing changed."""

    kind: ErrorKind


class Shortage(StrEnum):
    """Which allowance of calls, shared by all workers, is used up."""

    CALLS_PER_MINUTE = "calls_per_minute"
    DAILY_BUDGET = "daily_budget"
    BULK_BUDGET = "bulk_budget"
    """Bulk's part of the day; live goes on."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """Nothing was claimed: the calls that all workers may make now are used up."""

    seconds: float
    """Until it is worth asking again."""
    shortage: Shortage
    apart: float = 0.0
    """Seconds from then until it is worth asking for the next that waits: a place comes free."""


Claim = Granted | AlreadyDone | HeldElsewhere | Conflicting | Postponed


@dataclass(frozen=True, slots=True)
class Unstorable:
    """The database refuses this request's data, alone as well; nothing was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be recorded of a granted request: the call, if one was made, and what follows."""

    asked: ClaimRequest
    granted: Granted
    report: CallReport | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Recorded:
    """The entry is committed. `stored` is the row where it now has an outcome."""

    stored: StoredResult | None


@dataclass(frozen=True, slots=True)
class FencedOut:
    """The lease had lapsed and another owner has the request: what it says now counts.

    The call that was made is booked all the same.
    """

    now: AlreadyDone | HeldElsewhere
