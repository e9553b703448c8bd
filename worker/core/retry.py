"""What happens after a call: the one place that decides about another attempt.

An attempt counts if it may have been paid or if the provider itself failed. An attempt that is
provably free does not: the request waits, longer after each call, and fails at last by its age. An
attempt that falls into an outage does not count either. Wrong credentials are the request's own
fault where others are served meanwhile.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from worker.core.claims import Granted
from worker.core.outcome import (
    CallClass,
    CallReport,
    Charged,
    Complete,
    DeadLetter,
    Decision,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    Result,
    RetryLater,
    StoredResult,
    worse,
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how late.

    `delays` are the waits in seconds before the second, third, … attempt, ascending: one queue
    each. `max_in_doubt_calls` is how often a call in doubt may be repeated. `give_up_after` is the
    age in seconds at which a request fails whose calls fail for free; None: it waits for ever.
    """

    delays: tuple[int, ...]
    max_in_doubt_calls: int
    give_up_after: float | None = None

    def at_least(self, seconds: float) -> int:
        """Return the shortest delay that is not below `seconds`, or the longest one."""
        return next((delay for delay in self.delays if delay >= seconds), self.delays[-1])


GIVEN_UP = frozenset(
    {
        ErrorKind.PROVIDER_UNAVAILABLE,
        ErrorKind.PROTOCOL_ERROR,
        ErrorKind.CHARGED_WITHOUT_ANSWER,
        ErrorKind.IN_DOUBT,
        ErrorKind.UNSTORABLE,
    }
)
"""Why a request fails that a person should see: its message is kept as a dead letter."""

MESSAGES = {
    ErrorKind.PROVIDER_REFUSED: "the provider refuses this request",
    ErrorKind.PROTOCOL_ERROR: "the provider's answer contradicts its own contract",
    ErrorKind.CHARGED_WITHOUT_ANSWER: "the provider charged the call and gave no answer",
    ErrorKind.IN_DOUBT: "the charge of a call is unknown, and it may not be repeated",
    ErrorKind.EXPIRED: "its deadline passed before the call",
    ErrorKind.MESSAGE_LOST: "its message never came back",
}
"""Why there is no answer, in words for events and rows."""

NO_REPORT = CallReport(CallClass.IN_DOUBT, Charged.UNKNOWN)
"""What is known of a call whose worker died."""


def decide(
    report: CallReport, granted: Granted, policy: RetryPolicy, *, outage: bool = False
) -> Decision:
    """Decide what follows from a call's report for the request it was made for.

    In an outage a failure says nothing about this request: it is not counted. Where no call in
    doubt may be repeated, none follows one whose charge is unknown, or that was charged.
    """
    decision = _decide(report, granted, policy, outage)
    repeats = isinstance(decision, RetryLater) and decision.charged is not Charged.NO
    if repeats and policy.max_in_doubt_calls == 0:
        return in_doubt(replace(report, charged=worse(granted.charged, report.charged)))
    return decision


def _decide(report: CallReport, granted: Granted, policy: RetryPolicy, outage: bool) -> Decision:
    report = replace(report, charged=worse(granted.charged, report.charged))
    match report.call_class:
        case CallClass.ANSWERED:
            return Complete(_answer(report))
        case CallClass.REFUSED:
            return Complete(_failed(report, ErrorKind.PROVIDER_REFUSED))
        case CallClass.PROTOCOL_ERROR:
            return _give_up(report, ErrorKind.PROTOCOL_ERROR)
        # Whatever it failed with: who knows that a call is paid never pays for another one.
        case _ if report.charged is Charged.YES:
            return _give_up(report, ErrorKind.CHARGED_WITHOUT_ANSWER)
        case CallClass.SOURCE_FAILED | CallClass.UNAVAILABLE:
            return _another_attempt(report, granted, policy, outage)
        case CallClass.IN_DOUBT:
            if granted.in_doubt_calls + 1 > policy.max_in_doubt_calls:
                return in_doubt(report)
            return _later(report, policy, policy.delays[0])
        case CallClass.CREDENTIALS | CallClass.QUOTA:
            return _refused_account(report, granted, policy, outage)
        case CallClass.NOT_SENT | CallClass.THROTTLED | CallClass.FOREIGN:
            return _free_failure(report, granted, policy, outage)
        case _ as never:
            assert_never(never)


# Seconds to leave a fault alone that costs nothing, where the provider names no time itself: a
# lost connection is often back at once, credentials and quota wait for a person. JD's limits are
# per minute, so the next minute begins in 30 s on average.
_FREE_WAIT = {
    CallClass.NOT_SENT: 5.0,
    CallClass.THROTTLED: 30.0,
    CallClass.FOREIGN: 30.0,
    CallClass.CREDENTIALS: 30.0,
    CallClass.QUOTA: 30.0,
}


def in_doubt(report: CallReport = NO_REPORT) -> DeadLetter:
    """Give up because another call could be paid twice; after a crash there is no report."""
    return _give_up(report, ErrorKind.IN_DOUBT)


def expire(granted: Granted) -> Complete | DeadLetter:
    """End a request that may not be called, or whose deadline has passed."""
    return _unpaid(
        granted, Outcome.EXPIRED, Failure(ErrorKind.EXPIRED, MESSAGES[ErrorKind.EXPIRED])
    )


def reject(granted: Granted, problems: tuple[FieldProblem, ...]) -> Complete | DeadLetter:
    """End a request that our checks refuse, perhaps after others have let it pass."""
    failure = Failure(ErrorKind.INVALID_REQUEST, "the request fails the checks", problems)
    return _unpaid(granted, Outcome.REJECTED, failure)


def _unpaid(granted: Granted, outcome: Outcome, failure: Failure) -> Complete | DeadLetter:
    """End a request with an outcome that says unpaid, unless a call was perhaps paid."""
    return _perhaps_paid(granted) or Complete(Result(outcome, granted.charged, failure=failure))


def _perhaps_paid(granted: Granted) -> DeadLetter | None:
    """Return the end of a request with a call that was paid or perhaps was; None: it has none."""
    if granted.charged is Charged.YES:
        return _give_up(replace(NO_REPORT, charged=Charged.YES), ErrorKind.CHARGED_WITHOUT_ANSWER)
    if granted.in_doubt_calls > 0 or granted.charged is Charged.UNKNOWN:
        return in_doubt()
    return None


def give_up_message(granted: Granted) -> DeadLetter:
    """End a request whose message the broker has given up too often."""
    message = "the broker gave its message up again and again"
    failure = Failure(ErrorKind.MESSAGE_LOST, message)
    return _perhaps_paid(granted) or DeadLetter(
        Result(Outcome.FAILED, granted.charged, failure=failure), ErrorKind.MESSAGE_LOST
    )


def reuse(stored: StoredResult, granted: Granted) -> Complete:
    """End a request with the answer that another one has paid for."""
    result = replace(stored.result, charged=granted.charged, reused_from=stored.request_id)
    return Complete(result)


def _another_attempt(
    report: CallReport, granted: Granted, policy: RetryPolicy, outage: bool
) -> Decision:
    attempts = granted.attempts
    if attempts >= len(policy.delays) and not outage:
        message = f"the provider failed at {attempts + 1} attempts"
        return _give_up(report, ErrorKind.PROVIDER_UNAVAILABLE, message)
    delay = policy.delays[min(attempts, len(policy.delays) - 1)]
    return _later(report, policy, max(delay, report.retry_after or 0.0), counted=not outage)


def _refused_account(
    report: CallReport, granted: Granted, policy: RetryPolicy, outage: bool
) -> Decision:
    if granted.attempts >= len(policy.delays) and not outage:
        message = "the provider refuses our credentials or quota, for this request alone"
        return _give_up(report, ErrorKind.PROVIDER_UNAVAILABLE, message)
    return _free(report, policy, counted=not outage)


def _free_failure(
    report: CallReport, granted: Granted, policy: RetryPolicy, outage: bool
) -> Decision:
    """Wait longer after each call that was made, and give up at last: it may be this request."""
    if outage or report.sends == 0:
        return _free(report, policy)
    is_old = policy.give_up_after is not None and granted.age >= policy.give_up_after
    if is_old and granted.calls > len(policy.delays):
        message = f"the provider took none of {granted.calls} calls"
        return _give_up(report, ErrorKind.PROVIDER_UNAVAILABLE, message)
    longer = policy.delays[min(granted.calls, len(policy.delays)) - 1]
    decision = _free(report, policy)
    return replace(decision, delay=max(decision.delay, longer))


def _free(report: CallReport, policy: RetryPolicy, *, counted: bool = False) -> RetryLater:
    wait = _FREE_WAIT[report.call_class] if report.retry_after is None else report.retry_after
    return _later(report, policy, wait, counted=counted)


def _later(
    report: CallReport, policy: RetryPolicy, wait: float, *, counted: bool = False
) -> RetryLater:
    return RetryLater(policy.at_least(wait), counted, report.call_class, report.charged)


def _give_up(report: CallReport, kind: ErrorKind, message: str | None = None) -> DeadLetter:
    return DeadLetter(_failed(report, kind, message), kind)


def _answer(report: CallReport) -> Result:
    if report.verdict is None:
        raise ValueError("an answered call has a verdict")
    return Result(report.verdict, report.charged, report.auth_info, report.provider_request_id)


def _failed(report: CallReport, kind: ErrorKind, message: str | None = None) -> Result:
    failure = Failure(kind, message or MESSAGES[kind])
    told = (report.auth_info, report.provider_request_id)
    return Result(Outcome.FAILED, report.charged, *told, failure)
