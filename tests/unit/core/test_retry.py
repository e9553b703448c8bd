"""`decide` as a table: every class of call, by the counts and limits that matter to it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from worker.core.claims import Granted
from worker.core.outcome import (
    AuthInfo,
    CallClass,
    CallReport,
    Charged,
    Complete,
    DeadLetter,
    Decision,
    Outcome,
    RetryLater,
    worse,
)
from worker.core.retry import RetryPolicy, decide, expire, in_doubt, reject

DELAYS = (5, 30, 120)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
INFO = AuthInfo(success=True, has_exception=False, code="ok", message="一致", detail=None)

NO, YES, UNKNOWN = Charged.NO, Charged.YES, Charged.UNKNOWN
C = CallClass


def granted(attempts: int = 0, in_doubt_calls: int = 0, charged: Charged = NO) -> Granted:
    return Granted("onb-1", 1, 1, attempts, attempts + 1, in_doubt_calls, charged, LONG_AGO)


def policy(limit: int = 1) -> RetryPolicy:
    return RetryPolicy(DELAYS, limit)


def kind(decision: Decision) -> str:
    """Name a decision in the few words that the tables use."""
    if isinstance(decision, RetryLater):
        return f"in {decision.delay} s" + (", counted" if decision.counted else "")
    if isinstance(decision, DeadLetter):
        assert decision.result.failure is not None
        assert decision.result.failure.kind is decision.reason
        assert decision.result.outcome is Outcome.FAILED
        return f"dead: {decision.reason}"
    failure = decision.result.failure
    return decision.result.outcome if failure is None else f"failed: {failure.kind}"


@pytest.mark.parametrize(
    ("call_class", "charged", "attempts", "doubts", "limit", "expected"),
    [
        # refused is final at once, whatever was before
        (C.REFUSED, NO, 0, 0, 0, "failed: provider_refused"),
        (C.REFUSED, NO, 2, 1, 1, "failed: provider_refused"),
        # a contradiction is never retried blindly: each try may be paid
        (C.PROTOCOL_ERROR, UNKNOWN, 0, 0, 0, "dead: protocol_error"),
        (C.PROTOCOL_ERROR, YES, 2, 1, 1, "dead: protocol_error"),
        # the provider's source failed: again, unless this one is on the invoice
        (C.SOURCE_FAILED, NO, 0, 0, 0, "in 5 s, counted"),
        (C.SOURCE_FAILED, UNKNOWN, 0, 0, 1, "in 5 s, counted"),
        (C.SOURCE_FAILED, YES, 0, 0, 1, "dead: charged_without_answer"),
        (C.SOURCE_FAILED, NO, 1, 0, 1, "in 30 s, counted"),
        (C.SOURCE_FAILED, NO, 3, 0, 1, "dead: provider_unavailable"),
        # no call follows one that is known to be charged, whatever status it came with
        (C.UNAVAILABLE, YES, 0, 0, 1, "dead: charged_without_answer"),
        (C.THROTTLED, YES, 0, 0, 1, "dead: charged_without_answer"),
        (C.IN_DOUBT, YES, 0, 0, 1, "dead: charged_without_answer"),
        # each attempt waits longer, and as many delays as there are is as often as it is tried
        (C.UNAVAILABLE, UNKNOWN, 0, 0, 1, "in 5 s, counted"),
        (C.UNAVAILABLE, UNKNOWN, 1, 0, 1, "in 30 s, counted"),
        (C.UNAVAILABLE, UNKNOWN, 2, 0, 1, "in 120 s, counted"),
        (C.UNAVAILABLE, UNKNOWN, 3, 0, 1, "dead: provider_unavailable"),
        (C.UNAVAILABLE, UNKNOWN, 9, 0, 1, "dead: provider_unavailable"),  # the delays got fewer
        # with a limit of 0 no call follows one whose charge is unknown
        (C.UNAVAILABLE, UNKNOWN, 0, 0, 0, "dead: in_doubt"),
        (C.UNAVAILABLE, NO, 0, 0, 0, "in 5 s, counted"),
        (C.SOURCE_FAILED, UNKNOWN, 0, 0, 0, "dead: in_doubt"),
        (C.FOREIGN, UNKNOWN, 0, 0, 0, "dead: in_doubt"),
        (C.FOREIGN, UNKNOWN, 0, 0, 1, "in 30 s"),
        # a call in doubt is repeated as often as the limit says, and is not an attempt
        (C.IN_DOUBT, UNKNOWN, 0, 0, 0, "dead: in_doubt"),
        (C.IN_DOUBT, UNKNOWN, 0, 0, 1, "in 5 s"),
        (C.IN_DOUBT, UNKNOWN, 0, 1, 1, "dead: in_doubt"),
        (C.IN_DOUBT, UNKNOWN, 3, 0, 1, "in 5 s"),  # used up attempts do not matter
        (C.IN_DOUBT, UNKNOWN, 0, 1, 2, "in 5 s"),
        (C.IN_DOUBT, UNKNOWN, 0, 5, 2, "dead: in_doubt"),  # the limit got lower
        # what is free uses nothing up and waits longer after each call
        (C.NOT_SENT, NO, 0, 0, 0, "in 5 s"),
        (C.NOT_SENT, NO, 1, 1, 1, "in 30 s"),
        (C.THROTTLED, NO, 0, 1, 1, "in 30 s"),
        (C.THROTTLED, NO, 3, 1, 1, "in 120 s"),
        # while others are served, refused credentials are this request's own
        (C.CREDENTIALS, NO, 2, 1, 1, "in 30 s, counted"),
        (C.CREDENTIALS, NO, 3, 1, 1, "dead: provider_unavailable"),
        (C.QUOTA, NO, 3, 1, 1, "dead: provider_unavailable"),
    ],
)
def test_what_follows_from_a_call(
    call_class: CallClass, charged: Charged, attempts: int, doubts: int, limit: int, expected: str
) -> None:
    report = CallReport(call_class, charged)
    assert kind(decide(report, granted(attempts, doubts), policy(limit))) == expected


@pytest.mark.parametrize("verdict", [Outcome.MATCH, Outcome.MISMATCH, Outcome.NO_RECORD])
def test_an_answer_completes_the_request_with_all_that_it_said(verdict: Outcome) -> None:
    report = CallReport(C.ANSWERED, YES, verdict, INFO, 200, provider_request_id="p-1")
    decision = decide(report, granted(3, 1), policy(1))
    assert isinstance(decision, Complete)
    assert decision.result.outcome is verdict
    assert decision.result.auth_info is INFO
    assert decision.result.provider_request_id == "p-1"
    assert decision.result.failure is None


def test_an_answer_without_a_verdict_is_a_bug_and_no_match() -> None:
    with pytest.raises(ValueError, match="verdict"):
        decide(CallReport(C.ANSWERED, YES), granted(), policy())


def test_what_the_provider_said_is_kept_when_we_give_up() -> None:
    report = CallReport(C.PROTOCOL_ERROR, UNKNOWN, None, INFO, 200, provider_request_id="p-1")
    decision = decide(report, granted(), policy())
    assert isinstance(decision, DeadLetter)
    assert decision.result.auth_info is INFO
    assert decision.result.provider_request_id == "p-1"


A_DAY = 86_400.0
PATIENT = replace(policy(), give_up_after=A_DAY)


def free(call_class: CallClass, retry_after: float | None = None) -> CallReport:
    return CallReport(call_class, NO, retry_after=retry_after)


def old(age: float = A_DAY, calls: int = 4) -> Granted:
    return replace(granted(), calls=calls, read_at=LONG_AGO + timedelta(seconds=age))


@pytest.mark.parametrize(
    ("report", "before", "rules", "outage", "expected"),
    [
        # an outage uses up nobody's attempts: at the last one it is neither failed nor dead
        (free(C.UNAVAILABLE), granted(0), policy(), True, "in 5 s"),
        (free(C.UNAVAILABLE), granted(3), policy(), True, "in 120 s"),
        (free(C.SOURCE_FAILED), granted(3), policy(), True, "in 120 s"),
        (free(C.CREDENTIALS), granted(3), policy(), True, "in 30 s"),
        (free(C.QUOTA), granted(3), policy(), True, "in 30 s"),
        # a request that only fails for free ends at an age, when it has had its turns
        (free(C.THROTTLED), old(), PATIENT, False, "dead: provider_unavailable"),
        (free(C.NOT_SENT), old(), PATIENT, False, "dead: provider_unavailable"),
        (free(C.FOREIGN), old(), PATIENT, False, "dead: provider_unavailable"),
        (free(C.THROTTLED), old(A_DAY - 1, 9), PATIENT, False, "in 120 s"),
        (free(C.THROTTLED), old(A_DAY, 3), PATIENT, False, "in 120 s"),
        (free(C.THROTTLED), old(9 * A_DAY, 9), PATIENT, True, "in 30 s"),
        # what is free waits as long as the provider asks, never less; no longer delay exists
        *(
            (free(C.THROTTLED, asked), granted(), policy(), False, expected)
            for asked, expected in {
                None: "in 30 s", -7.0: "in 5 s", 0.0: "in 5 s", 5.0: "in 5 s", 5.1: "in 30 s",
                31.0: "in 120 s", 9999.0: "in 120 s", float("inf"): "in 120 s",
            }.items()
        ),
        (free(C.CREDENTIALS, 60.0), granted(), policy(), False, "in 120 s, counted"),
        (free(C.NOT_SENT, 10.0), granted(), policy(), False, "in 30 s"),
        (free(C.UNAVAILABLE, 31.0), granted(), policy(), False, "in 120 s, counted"),
        (free(C.UNAVAILABLE, 1.0), granted(1), policy(), False, "in 30 s, counted"),
        # an intent that is taken back is no call that failed
        (CallReport(C.NOT_SENT, NO, sends=0), old(9 * A_DAY, 9), PATIENT, False, "in 5 s"),
        # a limit of 0 holds in an outage and for the calls before
        (CallReport(C.UNAVAILABLE, UNKNOWN), granted(), policy(0), True, "dead: in_doubt"),
        (free(C.THROTTLED), granted(charged=UNKNOWN), policy(0), False, "dead: in_doubt"),
        # an earlier call is known to be paid: none follows
        (free(C.UNAVAILABLE), granted(charged=YES), policy(), False,
         "dead: charged_without_answer"),
        (free(C.SOURCE_FAILED), granted(charged=NO), policy(), False, "in 5 s, counted"),
        (free(C.SOURCE_FAILED), granted(charged=UNKNOWN), policy(), False, "in 5 s, counted"),
    ],
)  # fmt: skip
def test_what_was_before_and_what_is_asked_for_counts_as_well(
    report: CallReport, before: Granted, rules: RetryPolicy, outage: bool, expected: str
) -> None:
    assert kind(decide(report, before, rules, outage=outage)) == expected


@pytest.mark.parametrize(
    ("doubts", "charged", "expected"),
    [
        (0, NO, "failed"),
        (0, UNKNOWN, "dead: in_doubt"),  # `expired` and `rejected` would say unpaid
        (1, UNKNOWN, "dead: in_doubt"),
        (0, YES, "dead: charged_without_answer"),
        (1, YES, "dead: charged_without_answer"),
    ],
)
def test_what_may_not_be_called_any_more_says_whether_it_was_perhaps_paid(
    doubts: int, charged: Charged, expected: str
) -> None:
    claim = granted(0, doubts, charged)
    for decision, unpaid in (expire(claim), "expired"), (reject(claim, ()), "invalid_request"):
        assert kind(decision) == (f"failed: {unpaid}" if expected == "failed" else expected)
        assert decision.result.charged is charged


RISING = [NO, UNKNOWN, YES]  # a free call does not undo a doubt


@pytest.mark.parametrize("before", RISING)
@pytest.mark.parametrize("now", RISING)
@pytest.mark.parametrize("call_class", list(CallClass))
@pytest.mark.parametrize("limit", [0, 1])
def test_the_charges_of_all_calls_add_up(
    limit: int, call_class: CallClass, now: Charged, before: Charged
) -> None:
    together = max(before, now, key=RISING.index)
    verdict = Outcome.MATCH if call_class is C.ANSWERED else None
    decision = decide(CallReport(call_class, now, verdict), granted(charged=before), policy(limit))
    charged = decision.charged if isinstance(decision, RetryLater) else decision.result.charged
    assert charged is together
    assert worse(before, now) is worse(now, before) is together


def test_after_a_crash_there_is_no_report_and_perhaps_a_charge() -> None:
    assert in_doubt().result.charged is UNKNOWN
