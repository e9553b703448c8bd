"""What an answer means: the tables of README.md here, Answers, as pure functions.

In doubt about money the answer is "unknown"; in doubt about a verdict there is none.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from worker.core.connecting import Unconnected
from worker.core.outcome import AuthInfo, CallClass, CallReport, Charged, Outcome, worse
from worker.provider.bodies import Reply

NONCE_CONFLICT = "APIGW_NONCE_CONFLICT"
# What the sandbox calls itself in the Server header of everything that it answers.
SANDBOX_SERVER = "personal-auth-sandbox"
# An hour: the longest wait anybody may ask of us; the retry queues are shorter anyway.
MAX_RETRY_AFTER = 3600.0

# A request that the server did not wait for or did not want yet may be repeated (RFC 9110,
# RFC 8470), so these two are no refusals of the request.
_TRANSIENT_4XX = frozenset({408, 425})
_TOO_MANY = 429
# The one in front gave up waiting: the one behind may have worked on it.
_GATEWAY_TIMEOUT = 504

_CHARGED = {
    CallClass.SOURCE_FAILED: Charged.UNKNOWN,
    CallClass.PROTOCOL_ERROR: Charged.UNKNOWN,
    CallClass.UNAVAILABLE: Charged.UNKNOWN,
    CallClass.FOREIGN: Charged.NO,
    CallClass.IN_DOUBT: Charged.UNKNOWN,
    CallClass.REFUSED: Charged.NO,
    CallClass.CREDENTIALS: Charged.NO,
    CallClass.QUOTA: Charged.NO,
    CallClass.THROTTLED: Charged.NO,
    CallClass.NOT_SENT: Charged.NO,
}
# Sibling vendors bill a match and a mismatch, and not a missing record (README.md here, Charges).
_CHARGED_BY_VERDICT = {
    Outcome.MATCH: Charged.YES,
    Outcome.MISMATCH: Charged.YES,
    Outcome.NO_RECORD: Charged.NO,
}


def classify(
    http_status: int, reply: Reply | None, retry_after: float | None, no_record: re.Pattern[str]
) -> CallReport:
    """Return the report of an answer.

    `reply` is None where the body is no JSON object, `retry_after` is in seconds, `no_record` is
    searched for in code and message of an answer that is not a success.
    """
    reply = reply or Reply(foreign=True)
    info, verdict = reply.auth_info, None
    if reply.foreign:
        call_class = _class_of_foreign(http_status)
    elif info is not None and (http_status == 403 or 200 <= http_status < 300):
        call_class, verdict = _meaning(info, reply.contradictory, no_record)
    else:
        call_class = _class_of(http_status, reply.status)
    charged = _CHARGED_BY_VERDICT[verdict] if verdict is not None else _CHARGED[call_class]
    if call_class is CallClass.FOREIGN and http_status >= 500:
        charged = Charged.UNKNOWN
    return CallReport(
        call_class,
        worse(reply.charged or charged, Charged.UNKNOWN if reply.maybe_charged else Charged.NO),
        verdict,
        info,
        http_status,
        reply.status,
        reply.request_id,
        retry_after,
    )


def _meaning(
    info: AuthInfo, contradictory: bool, no_record: re.Pattern[str]
) -> tuple[CallClass, Outcome | None]:
    """Return what an answer says; an absent `hasException` reports no exception."""
    if contradictory or info.success is None or (info.success and info.has_exception):
        return CallClass.PROTOCOL_ERROR, None
    if info.has_exception:
        return CallClass.SOURCE_FAILED, None
    if info.success:
        return CallClass.ANSWERED, Outcome.MATCH
    missing = any(text and no_record.search(text) for text in (info.code, info.message))
    return CallClass.ANSWERED, Outcome.NO_RECORD if missing else Outcome.MISMATCH


def _class_of(http_status: int, status: str | None) -> CallClass:
    """Return the class of what the provider itself says that is not an answer."""
    match http_status:
        case 401 | 403:
            return CallClass.CREDENTIALS
        case 429 if status is not None and status.endswith("QUOTA_EXCEEDED"):
            return CallClass.QUOTA
        case 429:
            return CallClass.THROTTLED
        case 501:
            return CallClass.REFUSED
        case 504:
            return CallClass.IN_DOUBT
        # Without a status word this may be the word of a gateway that does not know the way now:
        # that would end every request of the queue.
        case 404 | 405 if status is None:
            return CallClass.UNAVAILABLE
        case code if 400 <= code < 500 and code not in _TRANSIENT_4XX:
            return CallClass.REFUSED
        case code if 300 <= code < 600:
            return CallClass.UNAVAILABLE
        case _:
            return CallClass.PROTOCOL_ERROR


def _class_of_foreign(http_status: int) -> CallClass:
    """Return the class of a page that is not the provider's, whatever status it came with.

    A gateway, a proxy, a firewall or a maintenance page says nothing about this request. With a
    success status, and where a gateway gave up waiting, the provider may have worked on it.
    """
    if http_status == _TOO_MANY:
        return CallClass.THROTTLED
    if 200 <= http_status < 300 or http_status == _GATEWAY_TIMEOUT:
        return CallClass.IN_DOUBT
    return CallClass.FOREIGN


def from_sandbox(http_status: int) -> CallReport:
    """Return the report of an answer that must never pass for a live one: the worker parks."""
    return CallReport(
        CallClass.CREDENTIALS, Charged.NO, http_status=http_status, status="SANDBOX_IN_LIVE_MODE"
    )


def without_answer(http_status: int | None, not_sent_because: Unconnected | None) -> CallReport:
    """Return the report of a send that no whole answer came to; None: bytes of it left."""
    call_class = CallClass.IN_DOUBT if not_sent_because is None else CallClass.NOT_SENT
    return CallReport(
        call_class,
        _CHARGED[call_class],
        http_status=http_status,
        not_sent_because=not_sent_because,
    )


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, 0 to 3600; None where it is unread.

    `now` is an aware time, for a header that holds a date (RFC 9110, 10.2.3).
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal():
        # Nine digits are 31 years; longer ones only cost time to read.
        return min(float(value[:9]), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max((date - now).total_seconds(), 0.0), MAX_RETRY_AFTER)
