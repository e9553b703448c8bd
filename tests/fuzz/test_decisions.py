"""Whatever becomes of a request's calls: they are few, they are added up, and they come to an end.

A request is followed from call to call as the ledger keeps it, by the rules alone.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.core.claims import Granted
from worker.core.outcome import (
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
from worker.core.retry import RetryPolicy, decide

FREE = (
    CallClass.NOT_SENT, CallClass.THROTTLED, CallClass.CREDENTIALS, CallClass.QUOTA,
    CallClass.FOREIGN,
)  # fmt: skip
TRANSIENT = (CallClass.SOURCE_FAILED, CallClass.UNAVAILABLE)
FRESH = Granted(
    "r-1", grant=1, call_number=1, attempts=0, calls=1, in_doubt_calls=0, charged=Charged.NO,
    requested_at=datetime(2026, 3, 1, tzinfo=UTC),
)  # fmt: skip

policies = st.builds(
    RetryPolicy,
    st.lists(st.integers(1, 3600), min_size=1, max_size=6, unique=True).map(sorted).map(tuple),
    st.integers(0, 3),
)
VERDICTS = [Outcome.MATCH, Outcome.MISMATCH, Outcome.NO_RECORD]


def reports(call_class: CallClass) -> st.SearchStrategy[CallReport]:
    """Return reports of one class, with whatever the provider's client can say in it."""
    charged, seconds = st.sampled_from(Charged), st.none() | st.floats(0, 3600)
    match call_class:
        case CallClass.ANSWERED:
            verdict = st.sampled_from(VERDICTS)
            return st.builds(CallReport, st.just(call_class), charged, verdict=verdict)
        case CallClass.IN_DOUBT:  # without a whole answer there is no header of it
            return st.builds(CallReport, st.just(call_class), charged)
        case _:
            return st.builds(CallReport, st.just(call_class), charged, retry_after=seconds)


REPORTS = {call_class: reports(call_class) for call_class in CallClass}
# Reports, and whether there is an outage.
History = list[tuple[CallReport, bool]]
# Calls of a few kinds each, for a bound is reached by one kind again and again.
histories = st.lists(st.sampled_from(CallClass), min_size=1, max_size=3).flatmap(
    lambda kinds: st.lists(
        st.tuples(
            st.one_of([REPORTS[kind] for kind in kinds]), st.sampled_from([False, False, True])
        ),
        max_size=20,
    )
)


def after(granted: Granted, report: CallReport, decision: RetryLater) -> Granted:
    """Return what the next claim of this request says."""
    return replace(
        granted,
        grant=granted.grant + 1,
        calls=granted.calls + 1,
        attempts=granted.attempts + decision.counted,
        in_doubt_calls=granted.in_doubt_calls + (report.call_class is CallClass.IN_DOUBT),
        charged=decision.charged,
    )


def follow(history: History, policy: RetryPolicy) -> tuple[History, list[Decision]]:
    """Return the calls that were made, up to the outcome, and what was decided after each."""
    granted, made, decisions = FRESH, History(), list[Decision]()
    for report, outage in history:
        made.append((report, outage))
        decisions.append(decision := decide(report, granted, policy, outage=outage))
        if not isinstance(decision, RetryLater):
            break
        granted = after(granted, report, decision)
    return made, decisions


@given(histories, policies)
def test_calls_that_may_cost_money_are_bounded(history: History, policy: RetryPolicy) -> None:
    made, _ = follow(history, policy)
    in_doubt = [report for report, _ in made if report.call_class is CallClass.IN_DOUBT]
    counted = [report for report, outage in made if report.call_class in TRANSIENT and not outage]
    assert len(in_doubt) <= 1 + policy.max_in_doubt_calls
    assert len(counted) <= 1 + len(policy.delays)


@given(histories, policies)
def test_a_request_ends_once_and_waits_only_for_what_is_not_its_fault(
    history: History, policy: RetryPolicy
) -> None:
    made, decisions = follow(history, policy)
    bound = 2 + len(policy.delays) + policy.max_in_doubt_calls
    costly = [
        report
        for report, outage in history
        if report.call_class not in FREE and not (report.call_class in TRANSIENT and outage)
    ]
    ended = bool(decisions) and not isinstance(decisions[-1], RetryLater)
    assert ended or len(costly) < bound
    assert all(isinstance(each, RetryLater) for each in decisions[:-1])
    for (report, _), decision in zip(made, decisions, strict=True):
        if isinstance(decision, RetryLater):
            assert decision.delay in policy.delays
            wanted = report.retry_after or 0.0
            assert decision.delay >= min(wanted, policy.delays[-1])


@given(
    st.lists(st.sampled_from([CallClass.NOT_SENT, CallClass.THROTTLED, CallClass.FOREIGN])),
    policies,
    st.floats(1, 1e6),
)
def test_what_only_fails_for_free_ends_at_its_age(
    kinds: list[CallClass], policy: RetryPolicy, give_up_after: float
) -> None:
    """Each wait is one of the policy's delays, so that the age is reached."""
    policy = replace(policy, give_up_after=give_up_after)
    granted = replace(FRESH, read_at=FRESH.requested_at)
    for kind in [*kinds, *[CallClass.THROTTLED] * (len(policy.delays) + 2)]:
        assert granted.read_at is not None
        decision = decide(CallReport(kind, Charged.NO), granted, policy)
        old = granted.age >= give_up_after and granted.calls > len(policy.delays)
        assert isinstance(decision, DeadLetter) is old
        if not isinstance(decision, RetryLater):
            return
        later = granted.read_at + timedelta(seconds=decision.delay)
        granted = replace(after(granted, CallReport(kind, Charged.NO), decision), read_at=later)


@given(histories, policies)
def test_the_outcome_is_the_last_answer_and_its_cost_the_worst_of_all_calls(
    history: History, policy: RetryPolicy
) -> None:
    made, decisions = follow(history, policy)
    charged = Charged.NO
    for (report, _), decision in zip(made, decisions, strict=True):
        charged = worse(charged, report.charged)
        match decision:
            case RetryLater():
                assert decision.charged is charged
            case Complete(result) | DeadLetter(result):
                assert result.charged is charged
                assert result.outcome is (report.verdict or Outcome.FAILED)
                assert (result.failure is None) == (report.verdict is not None)
