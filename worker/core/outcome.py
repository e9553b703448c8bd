"""What becomes of a call, and of a request: reports, results, and what is decided after a call."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from worker.core.connecting import Unconnected, words
from worker.core.request import Mode


class Outcome(StrEnum):
    """How a request ends. A request has one; `conflict` answers a sender and is never stored."""

    MATCH = "match"
    MISMATCH = "mismatch"
    NO_RECORD = "no_record"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    CONFLICT = "conflict"


ANSWERS = frozenset({Outcome.MATCH, Outcome.MISMATCH, Outcome.NO_RECORD})
"""The outcomes that are the provider's answer about a person."""


class Charged(StrEnum):
    """Whether the provider bills a call, as far as anybody can know."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


def worse(one: Charged, other: Charged) -> Charged:
    """Return the worse of two: charged, then perhaps charged, then free."""
    return max(one, other, key=(Charged.NO, Charged.UNKNOWN, Charged.YES).index)


class CallClass(StrEnum):
    """What became of one call (worker/provider/README.md, Answers)."""

    ANSWERED = "answered"
    """A clear answer: match, mismatch or no record."""
    SOURCE_FAILED = "source_failed"
    """`hasException`: the provider's own source failed."""
    PROTOCOL_ERROR = "protocol_error"
    """An answer that contradicts itself or cannot be read; never a match."""
    REFUSED = "refused"
    """The provider refuses this request; another try would be refused again."""
    CREDENTIALS = "credentials"
    """Our key, signature or clock is wrong: every request would fail."""
    QUOTA = "quota"
    """The account's quota is used up: every request would fail."""
    THROTTLED = "throttled"
    """Too many calls at once; free, later it works."""
    UNAVAILABLE = "unavailable"
    """The provider itself failed (5xx with its own JSON)."""
    FOREIGN = "foreign"
    """A page that is not the provider's: something between us and it answered."""
    NOT_SENT = "not_sent"
    """No byte of the request left: free."""
    IN_DOUBT = "in_doubt"
    """Bytes left, and no answer of the provider says that it did not work on it."""


class ErrorKind(StrEnum):
    """Why there is no answer, in events and rows: the closed list of codes."""

    INVALID_REQUEST = "invalid_request"
    UNREADABLE = "unreadable"
    UNSTORABLE = "unstorable"
    CONFLICT = "conflict"
    MODE_MISMATCH = "mode_mismatch"
    EXPIRED = "expired"
    PROVIDER_REFUSED = "provider_refused"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROTOCOL_ERROR = "protocol_error"
    CHARGED_WITHOUT_ANSWER = "charged_without_answer"
    IN_DOUBT = "in_doubt"
    MESSAGE_LOST = "message_lost"


class BadMessage(StrEnum):
    """Why no request can be told from a message: codes of its dead letter."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    CLOUDEVENTS_ENVELOPE = "cloudevents_envelope"
    NO_USABLE_ID = "no_usable_id"
    TOO_LARGE = "too_large"
    UNDECRYPTABLE = "undecryptable"
    """Replayed, it is read where its key is known now."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One refused field: its path and what is wrong with it, never its value."""

    field: str
    problem: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer."""

    kind: ErrorKind
    message: str
    fields: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthInfo:
    """The provider's answer; its texts are scrubbed of personal data already."""

    success: bool | None
    has_exception: bool | None
    code: str | None
    message: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class CallReport:
    """All that one call to the provider told us; made by the provider's client.

    `verdict` is set where, and only where, the class is `answered`. `status` is the provider's
    own status word from a closed form (letters, digits, underscores). `retry_after` is in seconds.
    """

    call_class: CallClass
    charged: Charged
    verdict: Outcome | None = None
    auth_info: AuthInfo | None = None
    http_status: int | None = None
    status: str | None = None
    provider_request_id: str | None = None
    retry_after: float | None = None
    sends: int = 1
    """How often the request was sent: more than 1 where the earlier ones were provably free."""
    seconds: float = 0.0
    not_sent_because: Unconnected | None = None
    """Why no byte of the last send left."""

    @property
    def in_words(self) -> str:
        """Why it could not be sent, or what was answered, for people."""
        if self.not_sent_because is not None:
            return words(self.not_sent_because, "PROVIDER")
        if self.http_status is None:
            return "no answer"
        return " ".join(filter(None, (f"HTTP {self.http_status}", self.status)))


@dataclass(frozen=True, slots=True)
class Result:
    """How a request ended: the answer, or why there is none."""

    outcome: Outcome
    charged: Charged = Charged.NO
    auth_info: AuthInfo | None = None
    provider_request_id: str | None = None
    failure: Failure | None = None
    reused_from: str | None = None
    """The request whose answer this is, where it was given again without a call."""


@dataclass(frozen=True, slots=True)
class Complete:
    """The request has its outcome."""

    result: Result


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Another attempt after `delay` seconds (one of the policy's delays)."""

    delay: int
    counted: bool
    reason: CallClass
    charged: Charged
    """The worst of all calls so far."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """We give up: the request has its outcome, and its message is kept for a person to see."""

    result: Result
    reason: ErrorKind


Decision = Complete | RetryLater | DeadLetter


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A request's row once it has an outcome: all that its event is made of."""

    request_id: str
    source: str
    check_type: int | None
    mode: Mode
    result: Result
    calls: int
    requested_at: datetime
    completed_at: datetime
    context: str | None
    announced: bool = False
    """Whether the broker had confirmed all that its message caused, a dead letter too."""
