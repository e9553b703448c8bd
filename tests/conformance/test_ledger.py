"""What every `Ledger` promises: one owner at a time, every call written down, one outcome."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.bench import Bench
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH, fault
from tests.integration.store.upkeep import CallSeen
from worker.core.claims import (
    AlreadyDone,
    ClaimRequest,
    Conflicting,
    Entry,
    FencedOut,
    Granted,
    HeldElsewhere,
    Recorded,
)
from worker.core.outcome import (
    AuthInfo,
    CallClass,
    CallReport,
    Charged,
    Complete,
    DeadLetter,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    Result,
    RetryLater,
)
from worker.core.request import Mode
from worker.ports import Ledger

ANSWER = Result(Outcome.MATCH, Charged.YES, MATCH.auth_info, MATCH.provider_request_id)
GIVEN_UP = Result(
    Outcome.FAILED,
    Charged.UNKNOWN,
    failure=Failure(ErrorKind.IN_DOUBT, "in doubt", (FieldProblem("body", "is a test"),)),
)


def granted(ledger: Ledger, asked: ClaimRequest | None = None, batch: str = "1") -> Granted:
    """Claim one request that can be had; `batch` is the claim's token."""
    (claim,) = ledger.claim([asked or ask()], batch)
    assert isinstance(claim, Granted)
    return claim


def complete(
    ledger: Ledger,
    claim: Granted,
    result: Result = ANSWER,
    report: CallReport | None = MATCH,
    asked: ClaimRequest | None = None,
) -> Recorded | FencedOut:
    """Record how a claimed request ended."""
    entry = Entry(asked or ask(claim.request_id), claim, report, Complete(result))
    (recorded,) = ledger.record([entry], [])
    return recorded


def put_off(
    ledger: Ledger,
    claim: Granted,
    call_class: CallClass = CallClass.UNAVAILABLE,
    *,
    counted: bool = False,
    charged: Charged = Charged.NO,
    delay: int = 0,
) -> Recorded | FencedOut:
    """Record that a claimed request is to be tried again; it is due in `delay` seconds."""
    decision = RetryLater(delay, counted, call_class, charged)
    entry = Entry(ask(claim.request_id), claim, fault(call_class, charged), decision)
    (recorded,) = ledger.record([entry], [])
    return recorded


# Claims.


def test_a_new_request_is_granted_with_its_first_call_intended(bench: Bench) -> None:
    claim = granted(bench.ledger())
    assert (claim.grant, claim.call_number, claim.calls) == (1, 1, 1)
    assert (claim.attempts, claim.in_doubt_calls, claim.charged) == (0, 0, Charged.NO)
    assert bench.row().state == "working"
    assert bench.calls() == [CallSeen(1, None, "unknown")]


def test_a_request_that_wants_no_call_is_granted_without_one(bench: Bench) -> None:
    claim = granted(bench.ledger(), ask(wants_call=False))
    assert (claim.call_number, claim.calls, bench.calls()) == (None, 0, [])


def test_a_claim_holds_for_a_whole_lease(bench: Bench) -> None:
    granted(bench.ledger(lease_seconds=7_200))
    assert 3_600 < bench.lease_left("onb-1") <= 7_200


@pytest.mark.parametrize(("worker", "token"), [("two", "1"), ("one", "2")])
def test_a_request_that_another_worker_or_batch_has_is_held(
    bench: Bench, worker: str, token: str
) -> None:
    granted(bench.ledger(), batch="1")
    (claim,) = bench.ledger(worker).claim([ask()], token)
    assert isinstance(claim, HeldElsewhere)
    assert len(bench.calls()) == 1


@pytest.mark.parametrize("state", ["working", "waiting", "done"])
@pytest.mark.parametrize(
    ("mode", "fingerprint", "kind"),
    [
        (Mode.LIVE, b"\x09" * 32, ErrorKind.CONFLICT),
        (Mode.SANDBOX, b"\x01" * 32, ErrorKind.MODE_MISMATCH),
    ],
)
def test_other_data_or_another_mode_conflicts_and_changes_nothing(
    bench: Bench, state: str, mode: Mode, fingerprint: bytes, kind: ErrorKind
) -> None:
    live = bench.ledger(mode=Mode.LIVE)
    claim = granted(live)
    if state != "working":
        complete(live, claim) if state == "done" else put_off(live, claim)
    before = bench.row()
    other = bench.ledger("two", mode=mode).claim([ask(fingerprint=fingerprint)], "2")
    assert other == [Conflicting(kind)]
    assert bench.row() == before


def test_the_answers_of_a_claim_are_in_the_order_of_its_batch(bench: Bench) -> None:
    ledger = bench.ledger()
    complete(ledger, granted(ledger, ask("b-done"), "1"))
    granted(bench.ledger("two"), ask("d-held"))
    put_off(ledger, granted(ledger, ask("c-waiting"), "2"))
    granted(bench.ledger("three"), ask("a-conflict"))
    conflict = ask("a-conflict", fingerprint=b"\x09" * 32)
    batch = [*map(ask, ["z-new", "d-held", "c-waiting", "b-done"]), conflict, ask("0-new")]
    claims = ledger.claim(batch, "3")
    kinds = [Granted, HeldElsewhere, Granted, AlreadyDone, Conflicting, Granted]
    assert [type(claim) for claim in claims] == kinds
    ids = [claim.request_id for claim in claims if isinstance(claim, Granted)]
    assert ids == ["z-new", "c-waiting", "0-new"]


def test_an_empty_batch_is_answered_with_nothing(bench: Bench) -> None:
    assert bench.ledger().record([], []) == []


# A claim whose answer was lost is asked again with its token.


def test_a_repeated_claim_finds_its_own_grants_again(bench: Bench) -> None:
    ledger = bench.ledger()
    batch = [ask("one"), ask("two", wants_call=False)]
    assert ledger.claim(batch, "7") == ledger.claim(batch, "7")
    assert len(bench.calls("one")) == 1


@pytest.mark.usefixtures("stale")
def test_a_repeated_take_over_finds_its_own_grant_again(bench: Bench) -> None:
    two = bench.ledger("two")
    assert two.claim([ask()], "7") == two.claim([ask()], "7")
    assert len(bench.calls()) == 2
    assert bench.row().in_doubt_calls == 1


@pytest.mark.usefixtures("stale")
def test_a_repeated_claim_beyond_the_limit_of_doubt_still_allows_no_call(bench: Bench) -> None:
    two = bench.ledger("two", max_in_doubt_calls=0)
    first, second = granted(two, batch="7"), granted(two, batch="7")
    assert first == second
    assert first.call_number is None


def test_a_repeated_claim_holds_for_a_whole_lease_again(bench: Bench) -> None:
    """The database was away for most of the lease; the call that starts now needs all of it."""
    ledger = bench.ledger(lease_seconds=7_200)
    granted(ledger, batch="7")
    bench.set_lease("onb-1", 600)
    granted(ledger, batch="7")
    assert bench.lease_left("onb-1") > 3_600


# Leases that lapse.


@pytest.mark.usefixtures("stale")
def test_a_lapsed_lease_is_taken_over_and_its_call_is_in_doubt(bench: Bench) -> None:
    claim = granted(bench.ledger("two"))
    assert (claim.grant, claim.call_number, claim.calls) == (2, 2, 2)
    assert (claim.in_doubt_calls, claim.charged) == (1, Charged.UNKNOWN)
    assert bench.calls() == [CallSeen(1, "in_doubt", "unknown"), CallSeen(2, None, "unknown")]


@pytest.mark.parametrize(
    ("limit", "crashes", "may_call"),
    [
        (0, 0, True),  # nothing is in doubt
        (0, 1, False),  # a person decides
        (1, 1, True),  # one repeat
        (1, 2, False),  # and no other
        (2, 2, True),
    ],
)
def test_a_call_in_doubt_is_repeated_within_its_limit(
    bench: Bench, limit: int, crashes: int, *, may_call: bool
) -> None:
    for crash in range(crashes):
        granted(bench.ledger(f"crashing-{crash}", max_in_doubt_calls=limit))
        bench.set_lease("onb-1", -1)
    claim = granted(bench.ledger("last", max_in_doubt_calls=limit))
    assert (claim.call_number is not None) is may_call
    assert claim.in_doubt_calls == crashes
    assert claim.calls == len(bench.calls()) == crashes + may_call


def test_a_lapsed_claim_without_a_call_leaves_no_doubt(bench: Bench) -> None:
    granted(bench.ledger(), ask(wants_call=False))
    bench.set_lease("onb-1", -1)
    claim = granted(bench.ledger("two"))
    assert (claim.call_number, claim.in_doubt_calls, claim.charged) == (1, 0, Charged.NO)


@pytest.mark.usefixtures("stale")
def test_a_take_over_that_wants_no_call_counts_the_doubt_all_the_same(bench: Bench) -> None:
    claim = granted(bench.ledger("two"), ask(wants_call=False))
    assert (claim.call_number, claim.calls, claim.in_doubt_calls) == (None, 1, 1)
    assert len(bench.calls()) == 1


def test_a_batch_takes_over_each_request_by_its_own_count(bench: Bench) -> None:
    bench.ledger().claim([ask("called"), ask("uncalled", wants_call=False)], "1")
    bench.set_lease("called", -1)
    bench.set_lease("uncalled", -1)
    claims = bench.ledger("two").claim([ask("uncalled"), ask("new"), ask("called")], "1")
    found = [
        (each.call_number, each.in_doubt_calls) for each in claims if isinstance(each, Granted)
    ]
    assert found == [(1, 0), (1, 0), (2, 1)]


# The database's clock.

TOO_LATE, IN_TIME = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(("expires_at", "may_call"), [(TOO_LATE, False), (IN_TIME, True)])
@pytest.mark.parametrize("options", [{}, {"daily_call_budget": 5}], ids=["free", "budget"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "waiting"])
def test_the_database_judges_whether_a_request_has_expired(
    bench: Bench,
    expires_at: datetime,
    options: dict[str, Any],
    *,
    known: bool,
    may_call: bool,
) -> None:
    ledger = bench.ledger(**options)
    if known:
        put_off(ledger, granted(ledger))
    before = bench.calls_today()
    claim = granted(ledger, ask(expires_at=expires_at), "2")
    assert (claim.call_number is not None) is may_call
    assert len(bench.calls()) == claim.calls == known + may_call
    assert bench.calls_today() - before == bool(options) * may_call


def test_a_grant_says_what_the_databases_clock_said(bench: Bench) -> None:
    claim = granted(bench.ledger())
    assert claim.read_at == claim.requested_at
    put_off(bench.ledger(), claim)
    again = granted(bench.ledger(), batch="2")
    assert again.read_at is not None
    assert again.read_at > again.requested_at == claim.requested_at


@pytest.mark.parametrize("state", ["working", "waiting"])
def test_a_clock_that_was_set_back_holds_a_request_for_a_minute_at_most(
    bench: Bench, state: str
) -> None:
    one, two = bench.ledger(), bench.ledger("two")
    claim = granted(one)
    if state == "waiting":
        put_off(one, claim, delay=120)
    bench.age(-120)
    (held,) = two.claim([ask()], "1")
    assert isinstance(held, HeldElsewhere)
    assert held.wait <= 60
    assert bench.held_for() <= 60


# Records.


def test_a_recorded_outcome_is_the_answer_to_every_copy(bench: Bench) -> None:
    ledger = bench.ledger()
    asked = ask(context='{"applicant":42}', source="onboarding-web")
    recorded = complete(ledger, granted(ledger, asked), asked=asked)
    assert isinstance(recorded, Recorded)
    assert recorded.stored is not None
    assert recorded.stored.result == ANSWER
    assert recorded.stored.context == '{"applicant":42}'
    (again,) = bench.ledger("two").claim([asked], "1")
    assert again == AlreadyDone(recorded.stored)
    assert bench.calls() == [CallSeen(1, "answered", "yes")]


_NO_FLAGS = AuthInfo(success=None, has_exception=None, code="E1", message="?", detail=None)


@pytest.mark.parametrize(
    "result",
    [
        ANSWER,
        GIVEN_UP,
        Result(Outcome.EXPIRED, failure=Failure(ErrorKind.EXPIRED, "too late")),
        # an answer without its flags still has words: the client reports what there was
        Result(Outcome.FAILED, Charged.UNKNOWN, _NO_FLAGS, "id"),
        # the contract allows an answer of which nothing is known
        Result(Outcome.NO_RECORD, Charged.NO, AuthInfo(False, False, None, None, None)),
    ],
    ids=["answer", "given-up", "expired", "no-flags", "bare"],
)
def test_a_copy_gets_the_very_result_that_was_announced_first(bench: Bench, result: Result) -> None:
    ledger = bench.ledger()
    recorded = complete(ledger, granted(ledger), result)
    assert isinstance(recorded, Recorded)
    (again,) = ledger.claim([ask()], "2")
    assert isinstance(again, AlreadyDone)
    assert again.stored == recorded.stored


def test_the_first_event_says_what_the_row_says_though_a_copy_named_another_source(
    bench: Bench,
) -> None:
    """Both events have one id, so a consumer keeps whichever came first."""
    ledger = bench.ledger()
    put_off(ledger, granted(ledger, ask(source="first", context='{"a":1}')))
    copy = ask(source="second", context='{"b":2}')
    recorded = complete(ledger, granted(ledger, copy, "2"), asked=copy)
    assert isinstance(recorded, Recorded)
    (again,) = ledger.claim([copy], "3")
    assert isinstance(again, AlreadyDone)
    assert again.stored == recorded.stored


def test_a_lapsed_lease_that_nobody_took_is_still_recorded(bench: Bench, stale: Granted) -> None:
    assert isinstance(complete(bench.ledger(), stale), Recorded)


def test_of_two_entries_of_one_request_in_one_batch_the_newest_grant_counts(
    bench: Bench, stale: Granted
) -> None:
    """A worker that was frozen past its lease takes its own request over, and ends both."""
    ledger = bench.ledger()
    current = granted(ledger, batch="2")
    late = Entry(ask(), stale, MATCH, Complete(GIVEN_UP))
    good = Entry(ask(), current, MATCH, Complete(ANSWER))
    first, second = ledger.record([late, good], [])
    assert isinstance(second, Recorded)
    assert second.stored is not None
    assert second.stored.result == ANSWER
    assert isinstance(first, FencedOut)


def test_a_batch_of_records_is_answered_in_its_order(bench: Bench) -> None:
    one, two = bench.ledger(), bench.ledger("two")
    ids = ["c", "a", "b"]
    claims = [granted(one, ask(each), each) for each in ids]
    bench.set_lease("a", -1)
    entries = [
        Entry(ask(each), claim, MATCH, Complete(ANSWER))
        for each, claim in zip(ids, claims, strict=True)
    ]
    complete(two, granted(two, ask("a")), asked=ask("a"))
    recorded = one.record(entries, [])
    assert [type(each) for each in recorded] == [Recorded, FencedOut, Recorded]
    stored = [each.stored for each in recorded if isinstance(each, Recorded)]
    assert [each.request_id for each in stored if each] == ["c", "b"]


def test_a_record_whose_answer_was_lost_is_recorded_the_same_when_repeated(bench: Bench) -> None:
    """Else a dead letter would not be kept, and a retry would come too early."""
    ledger = bench.ledger()
    dead = DeadLetter(GIVEN_UP, ErrorKind.IN_DOUBT)
    entry = Entry(ask(), granted(ledger), fault(CallClass.IN_DOUBT, Charged.UNKNOWN), dead)
    assert ledger.record([entry], []) == ledger.record([entry], [])
    assert bench.row().in_doubt_calls == 1


def test_a_retry_whose_answer_was_lost_is_recorded_the_same_when_repeated(bench: Bench) -> None:
    ledger = bench.ledger()
    claim = granted(ledger)
    assert put_off(ledger, claim, counted=True) == Recorded(None)
    assert put_off(ledger, claim, counted=True) == Recorded(None)
    assert bench.row().attempts == 1


# Calls that were not even tried.

UNTRIED = CallReport(CallClass.NOT_SENT, Charged.NO, sends=0)


def leave(ledger: Ledger, claim: Granted, report: CallReport = UNTRIED) -> Recorded | FencedOut:
    """Record that a call, which no try was made of, comes to nothing for now."""
    decision = RetryLater(0, False, report.call_class, report.charged)
    (recorded,) = ledger.record([Entry(ask(claim.request_id), claim, report, decision)], [])
    return recorded


def test_an_intent_that_was_not_even_tried_is_no_call(bench: Bench) -> None:
    ledger = bench.ledger()
    claim = granted(ledger, batch="1")
    assert leave(ledger, claim) == Recorded(None)
    assert leave(ledger, claim) == Recorded(None)  # its answer was lost
    assert (bench.row().calls, bench.calls()) == (0, [])
    again = granted(ledger, batch="2")
    assert (again.call_number, again.calls) == (1, 1)


def test_an_intent_that_somebody_has_doubted_stays_a_call(bench: Bench, stale: Granted) -> None:
    granted(bench.ledger("two"))
    assert isinstance(leave(bench.ledger(), stale), FencedOut)
    assert len(bench.calls()) == bench.row().calls == 2


# Retries.


def test_a_request_that_waits_is_claimed_again_without_doubt(bench: Bench) -> None:
    ledger = bench.ledger()
    assert put_off(ledger, granted(ledger), counted=True) == Recorded(None)
    assert bench.row().state == "waiting"
    claim = granted(bench.ledger("two"))
    assert (claim.grant, claim.call_number, claim.attempts, claim.in_doubt_calls) == (2, 2, 1, 0)
    assert [call.call_class for call in bench.calls()] == ["unavailable", None]


def test_a_copy_that_comes_before_the_next_attempt_is_due_waits_for_it(bench: Bench) -> None:
    ledger = bench.ledger()
    put_off(ledger, granted(ledger), delay=120)
    (claim,) = bench.ledger("two").claim([ask()], "1")
    assert isinstance(claim, HeldElsewhere)
    assert 60 < claim.wait <= 120
    assert len(bench.calls()) == 1
    bench.age(2)
    assert granted(bench.ledger("two"), batch="2").call_number == 2


def test_what_needs_no_call_is_answered_before_the_next_attempt_is_due(bench: Bench) -> None:
    ledger = bench.ledger()
    put_off(ledger, granted(ledger), delay=120)
    assert granted(ledger, ask(wants_call=False), "2").call_number is None


def test_only_a_counted_retry_counts(bench: Bench) -> None:
    ledger = bench.ledger()
    put_off(ledger, granted(ledger, batch="1"), counted=True)
    put_off(ledger, granted(ledger, batch="2"), CallClass.THROTTLED)
    assert granted(ledger, batch="3").attempts == 1


def test_a_call_that_ended_in_doubt_counts_against_the_limit(bench: Bench) -> None:
    ledger = bench.ledger(max_in_doubt_calls=0)
    put_off(ledger, granted(ledger), CallClass.IN_DOUBT, charged=Charged.UNKNOWN)
    claim = granted(ledger, batch="2")
    assert (claim.call_number, claim.in_doubt_calls) == (None, 1)


@pytest.mark.parametrize(
    ("limit", "charged", "may_call"),
    [
        (0, Charged.UNKNOWN, False),
        (0, Charged.YES, False),
        (0, Charged.NO, True),
        (1, Charged.UNKNOWN, True),
    ],
)
def test_with_a_limit_of_0_no_call_follows_one_whose_charge_is_unknown(
    bench: Bench, limit: int, charged: Charged, *, may_call: bool
) -> None:
    """As a worker with another limit left it."""
    ledger = bench.ledger(max_in_doubt_calls=limit)
    put_off(ledger, granted(ledger), charged=charged)
    claim = granted(ledger, batch="2")
    assert (claim.call_number is not None) is may_call
    assert len(bench.calls()) == claim.calls == 1 + may_call


def test_the_charge_of_all_calls_is_remembered(bench: Bench) -> None:
    ledger = bench.ledger()
    put_off(ledger, granted(ledger, batch="1"), charged=Charged.UNKNOWN)
    claim = granted(ledger, batch="2")
    assert claim.charged is Charged.UNKNOWN
    put_off(ledger, claim, charged=Charged.YES)
    assert granted(ledger, batch="3").charged is Charged.YES


def test_a_crash_after_a_charged_call_leaves_it_charged(bench: Bench) -> None:
    ledger = bench.ledger()
    put_off(ledger, granted(ledger, batch="1"), charged=Charged.YES)
    granted(ledger, batch="2")
    bench.set_lease("onb-1", -1)
    assert granted(ledger, batch="3").charged is Charged.YES


# Events.


def test_a_mark_goes_along_with_the_next_records(bench: Bench) -> None:
    ledger = bench.ledger()
    complete(ledger, granted(ledger))
    claim = granted(ledger, ask("onb-2"), "2")
    ledger.record([Entry(ask("onb-2"), claim, MATCH, Complete(ANSWER))], ["onb-1"])
    assert bench.row().announced
    assert not bench.row("onb-2").announced


@pytest.mark.parametrize("request_id", ["onb-1", "unknown"])
def test_a_mark_for_a_request_without_an_outcome_changes_nothing(
    bench: Bench, request_id: str
) -> None:
    ledger = bench.ledger()
    granted(ledger)
    ledger.record([], [request_id])
    assert not bench.row().announced


def test_a_confirmed_event_is_marked_and_a_copy_learns_it(bench: Bench) -> None:
    ledger = bench.ledger()
    recorded = complete(ledger, granted(ledger))
    assert isinstance(recorded, Recorded)
    assert recorded.stored is not None
    assert not recorded.stored.announced
    for announced in (False, True):
        (copy,) = ledger.claim([ask()], "2")
        assert isinstance(copy, AlreadyDone)
        assert copy.stored.announced is bench.row().announced is announced
        assert ledger.record([], ["onb-1"]) == []


def test_a_fenced_out_record_learns_the_outcome_that_counts_and_whether_it_was_announced(
    bench: Bench, stale: Granted
) -> None:
    two = bench.ledger("two")
    counts = complete(two, granted(two), GIVEN_UP, fault(CallClass.IN_DOUBT, Charged.UNKNOWN))
    assert isinstance(counts, Recorded)
    assert counts.stored is not None
    two.record([], ["onb-1"])
    assert complete(bench.ledger(), stale) == FencedOut(
        AlreadyDone(replace(counts.stored, announced=True))
    )
