"""What every `Ledger` promises: one owner at a time, every call written down, one outcome."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.bench import (
    GIVEN_UP,
    Bench,
    claimed,
    complete,
    granted,
    leave,
    put_off,
    told,
)
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH, fault
from tests.integration.store.upkeep import ANSWER, CallSeen, finish
from worker.core.claims import (
    AlreadyDone,
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
    Charged,
    Complete,
    DeadLetter,
    Decision,
    ErrorKind,
    Failure,
    Outcome,
    Result,
    RetryLater,
)
from worker.core.request import Mode

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


def test_a_claim_holds_for_a_whole_lease_and_its_repetition_for_another(bench: Bench) -> None:
    """The database was away for most of the lease; the call that starts now needs all of it."""
    ledger = bench.ledger(lease_seconds=7_200)
    granted(ledger, batch="7")
    assert 3_600 < bench.held_for() <= 7_200
    bench.age(110)
    granted(ledger, batch="7")
    assert 3_600 < bench.held_for() <= 7_200


@pytest.mark.parametrize(("worker", "token"), [("two", "1"), ("one", "2")])
def test_a_request_that_another_worker_or_batch_has_is_held(
    bench: Bench, worker: str, token: str
) -> None:
    granted(bench.ledger(), batch="1")
    assert isinstance(claimed(bench.ledger(worker), batch=token), HeldElsewhere)
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
    other = claimed(bench.ledger("two", mode=mode), ask(fingerprint=fingerprint))
    assert other == Conflicting(kind)
    assert bench.row() == before


def test_the_answers_of_a_claim_are_in_the_order_of_its_batch(bench: Bench) -> None:
    ledger = bench.ledger()
    finish(ledger, ask("b-done"))
    granted(bench.ledger("two"), ask("d-held"))
    put_off(ledger, granted(ledger, ask("c-waiting")))
    granted(bench.ledger("three"), ask("a-conflict"))
    conflict = ask("a-conflict", fingerprint=b"\x09" * 32)
    batch = [*map(ask, ["z-new", "d-held", "c-waiting", "b-done"]), conflict, ask("0-new")]
    claims = ledger.claim(batch, "3")
    kinds = [Granted, HeldElsewhere, Granted, AlreadyDone, Conflicting, Granted]
    assert [type(claim) for claim in claims] == kinds
    ids = [claim.request_id for claim in claims if isinstance(claim, Granted)]
    assert ids == ["z-new", "c-waiting", "0-new"]


# A claim whose answer was lost is asked again with its token.


def test_a_repeated_claim_finds_its_own_grants_again(bench: Bench) -> None:
    ledger = bench.ledger()
    batch = [ask("one"), ask("two", wants_call=False)]
    assert ledger.claim(batch, "7") == ledger.claim(batch, "7")
    assert len(bench.calls("one")) == 1


@pytest.mark.usefixtures("stale")
@pytest.mark.parametrize(("limit", "call_number"), [(1, 2), (0, None)])
def test_a_repeated_take_over_finds_its_own_grant_again(
    bench: Bench, limit: int, call_number: int | None
) -> None:
    two = bench.ledger("two", max_in_doubt_calls=limit)
    first = granted(two, batch="7")
    assert first == granted(two, batch="7")
    assert (first.call_number, len(bench.calls())) == (call_number, call_number or 1)
    assert bench.row().in_doubt_calls == 1


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
        bench.lapse()
    claim = granted(bench.ledger("last", max_in_doubt_calls=limit))
    assert (claim.call_number is not None) is may_call
    assert claim.in_doubt_calls == crashes
    assert claim.calls == len(bench.calls()) == crashes + may_call


@pytest.mark.usefixtures("stale")
def test_a_take_over_that_wants_no_call_counts_the_doubt_all_the_same(bench: Bench) -> None:
    claim = granted(bench.ledger("two"), ask(wants_call=False))
    assert (claim.call_number, claim.calls, claim.in_doubt_calls) == (None, 1, 1)
    assert len(bench.calls()) == 1


def test_a_batch_takes_over_each_request_by_its_own_count(bench: Bench) -> None:
    """A lapsed claim without a call leaves no doubt."""
    bench.ledger().claim([ask("called"), ask("uncalled", wants_call=False)], "1")
    bench.lapse()
    claims = bench.ledger("two").claim([ask("uncalled"), ask("new"), ask("called")], "1")
    found = [
        (each.call_number, each.in_doubt_calls, each.charged)
        for each in claims
        if isinstance(each, Granted)
    ]
    assert found == [(1, 0, Charged.NO), (1, 0, Charged.NO), (2, 1, Charged.UNKNOWN)]


# The database's clock.

TOO_LATE, IN_TIME = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize(("expires_at", "may_call"), [(TOO_LATE, False), (IN_TIME, True)])
@pytest.mark.parametrize("options", [{}, {"daily_call_budget": 5}], ids=["free", "budget"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "waiting"])
def test_the_database_judges_whether_a_request_has_expired(
    bench: Bench, expires_at: datetime, options: dict[str, Any], *, known: bool, may_call: bool
) -> None:
    ledger = bench.ledger(**options)
    if known:
        put_off(ledger, granted(ledger))
    before = bench.calls_today()
    claim = granted(ledger, ask(expires_at=expires_at))
    assert (claim.call_number is not None) is may_call
    assert len(bench.calls()) == claim.calls == known + may_call
    assert bench.calls_today() - before == bool(options) * may_call


def test_a_grant_says_what_the_databases_clock_said(bench: Bench) -> None:
    claim = granted(bench.ledger())
    assert claim.read_at == claim.requested_at
    put_off(bench.ledger(), claim)
    again = granted(bench.ledger())
    assert again.read_at is not None
    assert again.read_at > again.requested_at == claim.requested_at


@pytest.mark.parametrize("state", ["working", "waiting"])
def test_a_clock_that_was_set_back_holds_a_request_for_a_minute_at_most(
    bench: Bench, state: str
) -> None:
    claim = granted(bench.ledger())
    if state == "waiting":
        put_off(bench.ledger(), claim, delay=120)
    bench.age(-120)
    held = claimed(bench.ledger("two"))
    assert isinstance(held, HeldElsewhere)
    assert held.wait <= 60
    assert bench.held_for() <= 60


# Records.

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
def test_a_recorded_outcome_is_the_answer_to_every_copy(bench: Bench, result: Result) -> None:
    ledger, asked = bench.ledger(), ask(context='{"applicant":42}', source="onboarding-web")
    recorded = told(complete(ledger, granted(ledger, asked), result, asked=asked))
    assert (recorded.result, recorded.context) == (result, '{"applicant":42}')
    assert claimed(bench.ledger("two"), asked) == AlreadyDone(recorded)
    assert bench.calls() == [CallSeen(1, "answered", "yes")]


def test_the_first_event_says_what_the_row_says_though_a_copy_named_another_source(
    bench: Bench,
) -> None:
    """Both events have one id, so a consumer keeps whichever came first."""
    ledger = bench.ledger()
    put_off(ledger, granted(ledger, ask(source="first", context='{"a":1}')))
    copy = ask(source="second", context='{"b":2}')
    recorded = complete(ledger, granted(ledger, copy), asked=copy)
    assert told(claimed(ledger, copy)) == told(recorded)


def test_a_lapsed_lease_that_nobody_took_is_still_recorded(bench: Bench, stale: Granted) -> None:
    assert isinstance(complete(bench.ledger(), stale), Recorded)


def test_of_two_entries_of_one_request_in_one_batch_the_newest_grant_counts(
    bench: Bench, stale: Granted
) -> None:
    """A worker that was frozen past its lease takes its own request over, and ends both."""
    ledger = bench.ledger()
    current = granted(ledger)
    late = Entry(ask(), stale, MATCH, Complete(GIVEN_UP))
    good = Entry(ask(), current, MATCH, Complete(ANSWER))
    first, second = ledger.record([late, good], [])
    assert told(second).result == ANSWER
    assert isinstance(first, FencedOut)


def test_a_batch_of_records_is_answered_in_its_order(bench: Bench) -> None:
    one, two = bench.ledger(), bench.ledger("two")
    claims = [granted(one, ask(each)) for each in ("c", "a", "b")]
    bench.lapse()
    finish(two, ask("a"))
    entries = [Entry(ask(each.request_id), each, MATCH, Complete(ANSWER)) for each in claims]
    first, second, third = one.record(entries, [])
    assert isinstance(second, FencedOut)
    assert [told(each).request_id for each in (first, third)] == ["c", "b"]


@pytest.mark.parametrize(
    "decision",
    [
        DeadLetter(GIVEN_UP, ErrorKind.IN_DOUBT),
        RetryLater(0, True, CallClass.IN_DOUBT, Charged.UNKNOWN),
    ],
    ids=["dead-letter", "retry"],
)
def test_a_record_whose_answer_was_lost_is_recorded_the_same_when_repeated(
    bench: Bench, decision: Decision
) -> None:
    """Else a dead letter would not be kept, and a retry would come too early."""
    ledger = bench.ledger()
    report = fault(CallClass.IN_DOUBT, Charged.UNKNOWN)
    entry = Entry(ask(), granted(ledger), report, decision)
    (first,), before = ledger.record([entry], []), bench.row()
    assert isinstance(first, Recorded)
    assert (ledger.record([entry], []), bench.row()) == ([first], before)
    assert before.in_doubt_calls == 1


def test_an_intent_that_was_not_even_tried_is_no_call(bench: Bench) -> None:
    ledger = bench.ledger()
    claim = granted(ledger)
    assert leave(ledger, claim) == Recorded(None)
    assert leave(ledger, claim) == Recorded(None)  # its answer was lost
    assert (bench.row().calls, bench.calls()) == (0, [])
    again = granted(ledger)
    assert (again.call_number, again.calls) == (1, 1)


def test_an_intent_that_somebody_has_doubted_stays_a_call(bench: Bench, stale: Granted) -> None:
    granted(bench.ledger("two"))
    assert isinstance(leave(bench.ledger(), stale), FencedOut)
    assert len(bench.calls()) == bench.row().calls == 2


# Retries.


def test_a_request_that_waits_is_claimed_again_without_doubt(bench: Bench) -> None:
    """Only a counted retry counts as an attempt."""
    one, two = bench.ledger(), bench.ledger("two")
    assert put_off(one, granted(one), counted=True) == Recorded(None)
    assert bench.row().state == "waiting"
    claim = granted(two)
    assert (claim.grant, claim.call_number, claim.attempts, claim.in_doubt_calls) == (2, 2, 1, 0)
    assert [call.call_class for call in bench.calls()] == ["unavailable", None]
    put_off(two, claim, CallClass.THROTTLED)
    assert granted(two).attempts == 1


def test_a_copy_that_comes_before_the_next_attempt_is_due_waits_for_it(bench: Bench) -> None:
    """What needs no call is answered before."""
    ledger = bench.ledger()
    put_off(ledger, granted(ledger), delay=120)
    claim = claimed(bench.ledger("two"))
    assert isinstance(claim, HeldElsewhere)
    assert 60 < claim.wait <= 120
    assert len(bench.calls()) == 1
    bench.age(2)
    again = granted(ledger)
    assert again.call_number == 2
    put_off(ledger, again, delay=120)
    assert granted(ledger, ask(wants_call=False)).call_number is None


@pytest.mark.parametrize(
    ("limit", "call_class", "charged", "may_call"),
    [
        (0, CallClass.IN_DOUBT, Charged.UNKNOWN, False),
        (0, CallClass.UNAVAILABLE, Charged.UNKNOWN, False),
        (0, CallClass.UNAVAILABLE, Charged.YES, False),
        (0, CallClass.UNAVAILABLE, Charged.NO, True),
        (1, CallClass.UNAVAILABLE, Charged.UNKNOWN, True),
    ],
)
def test_with_a_limit_of_0_no_call_follows_one_whose_charge_is_unknown(
    bench: Bench, limit: int, call_class: CallClass, charged: Charged, *, may_call: bool
) -> None:
    """As a worker with another limit left it."""
    ledger = bench.ledger(max_in_doubt_calls=limit)
    put_off(ledger, granted(ledger), call_class, charged=charged)
    claim = granted(ledger)
    assert (claim.call_number is not None) is may_call
    assert len(bench.calls()) == claim.calls == 1 + may_call
    assert claim.in_doubt_calls == (call_class is CallClass.IN_DOUBT)


def test_the_charge_of_all_calls_is_remembered(bench: Bench) -> None:
    """A crash after a charged call leaves it charged."""
    ledger = bench.ledger()
    put_off(ledger, granted(ledger), charged=Charged.UNKNOWN)
    claim = granted(ledger)
    assert claim.charged is Charged.UNKNOWN
    put_off(ledger, claim, charged=Charged.YES)
    assert granted(ledger).charged is Charged.YES
    bench.lapse()
    assert granted(ledger).charged is Charged.YES


# Events.


def test_a_mark_goes_along_with_the_next_records(bench: Bench) -> None:
    ledger = bench.ledger()
    finish(ledger, ask())
    claim = granted(ledger, ask("onb-2"))
    ledger.record([Entry(ask("onb-2"), claim, MATCH, Complete(ANSWER))], ["onb-1"])
    assert bench.row().announced
    assert not bench.row("onb-2").announced


def test_a_mark_for_a_request_without_an_outcome_changes_nothing(bench: Bench) -> None:
    granted(bench.ledger())
    assert bench.ledger().record([], ["onb-1", "unknown"]) == []
    assert not bench.row().announced


def test_a_confirmed_event_is_marked_and_a_copy_learns_it(bench: Bench) -> None:
    ledger = bench.ledger()
    assert not told(complete(ledger, granted(ledger))).announced
    for announced in (False, True):
        assert told(claimed(ledger)).announced is bench.row().announced is announced
        assert ledger.record([], ["onb-1"]) == []


def test_a_fenced_out_record_learns_the_outcome_that_counts_and_whether_it_was_announced(
    bench: Bench, stale: Granted
) -> None:
    two = bench.ledger("two")
    report = fault(CallClass.IN_DOUBT, Charged.UNKNOWN)
    counts = told(complete(two, granted(two), GIVEN_UP, report))
    two.record([], ["onb-1"])
    late = complete(bench.ledger(), stale)
    assert late == FencedOut(AlreadyDone(replace(counts, announced=True)))
