"""What the people who run the workers see of the database, and the pause that they order."""

from dataclasses import dataclass
from datetime import datetime

from worker.core.masking import scrub
from worker.core.outcome import CallClass, Charged, ErrorKind, FieldProblem, Outcome
from worker.core.request import Lane, Mode


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
    not_sent_because: str | None = None
    """Why no byte of it left; a later release's worker may write a code that is not known here."""


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
    error_fields: tuple[FieldProblem, ...]
    """What our own checks refused."""
    reused_from: str | None
    requested_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None
    event_sent_at: datetime | None
    settled_at: datetime | None
    cleared_at: datetime | None
    read_at: datetime
    calls: tuple[CallRecord, ...]
    lane: Lane = Lane.LIVE

    @property
    def open_call(self) -> CallRecord | None:
        """The call whose end is not recorded."""
        return next((call for call in self.calls if call.finished_at is None), None)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is unfinished in the database, of all workers in one mode: numbers, no ids.

    Counts end at a bound: more is as bad.
    """

    unsent_events: int = 0
    """Results whose event is not known to be sent, those of this second included."""
    oldest_unsent: float = 0.0
    """Seconds since the oldest of them was saved; 0 where there is none."""
    lapsed_requests: int = 0
    """Requests whose lease has lapsed and that nobody has taken over."""
    calls_today: int = 0
    """Against the budget of the day (Asia/Shanghai); counted only where calls are limited."""
    bulk_calls_today: int = 0
    """Those of them that are bulk's."""
    retention_overdue: float = 0.0
    """Seconds by which the oldest finished request is past CLEAR_ or DELETE_AFTER_DAYS."""
    schema_behind: bool = False
    """Whether the schema is older than this worker needs; then nothing else was looked at."""


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The database's server at a moment."""

    at: datetime
    """By its own clock."""
    connections: int
    """To all its databases, whoever's."""
    connections_limit: int
    """Those that are kept for superusers left out."""


# No call begins later than so many seconds after a pause is committed. Workers look once a second,
# and a look takes milliseconds: the rest is for a busy machine.
NOTICE_SECONDS = 3.0

# A result this old was not announced on the main line: that takes one second, and a crashed
# worker's message, which brings its event by itself, is delivered again within a few.
UNSENT_SECONDS = 60.0

# How fast dead letters come back, where nobody says otherwise: beside the load of the day.
REPLAYED_PER_SECOND = 50.0


# It goes into /readyz, a log line and the status: one line of a terminal, with room for a ticket.
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause: no call begins until a person lifts it."""

    reason: str
    """The words of who ordered it; checked, no personal data."""
    by: str
    since: datetime


def check_reason(text: str) -> str:
    """Return the words for a pause, trimmed; raise ValueError with what is wrong with them."""
    words = text.strip()
    if not words or len(words) > _LONGEST_REASON or not words.isprintable():
        raise ValueError(f"must have 1 to {_LONGEST_REASON} printable characters")
    if scrub(words, None) != words:
        raise ValueError("must not hold a number that could be a person's")
    return words


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What one worker does now, as it says itself."""

    state: str
    """working, parked, probing or not ready."""
    reason: str | None
    """Why, where it does not simply work."""
    probe_in: float | None
    """Seconds until a parked worker tries the provider again; None: nobody knows."""
    held: int
    claimed: int
    calls_under_way: int
    calls_allowed: int
    returned: int


@dataclass(frozen=True, slots=True)
class Blocker:
    """A database session that others wait for: it holds a lock."""

    pid: int
    application: str | None
    """The application_name that it gave itself."""
    since: datetime | None
    """When its transaction began; None where it is another user's."""

    def __str__(self) -> str:
        since = f", since {self.since:%Y-%m-%dT%H:%M:%SZ}" if self.since else ""
        return f"held up by pid {self.pid}, application {self.application or 'unnamed'}{since}"
