"""Records that come late, or for rows that a failover has lost: each call is booked, and counts."""

from dataclasses import replace

import pytest

from tests.conformance.bench import UNTRIED, Bench, claimed, complete, granted, leave, put_off, told
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH, fault
from tests.integration.store.upkeep import ANSWER, CallSeen
from worker.core.claims import AlreadyDone, Entry, FencedOut, Granted, HeldElsewhere, Recorded
from worker.core.outcome import (
    CallClass,
    CallReport,
    Charged,
    Complete,
    DeadLetter,
    ErrorKind,
    RetryLater,
)
from worker.core.retry import in_doubt

UNKNOWN = Charged.UNKNOWN


def test_a_late_answer_ends_the_request_whoever_works_on_it(bench: Bench, stale: Granted) -> None:
    two = bench.ledger("two")
    current = granted(two)
    recorded = told(complete(bench.ledger(), stale))
    assert recorded.result == ANSWER
    # The other one's call may be made: it is in doubt until it is reported.
    assert bench.calls() == [CallSeen(1, "answered", "yes"), CallSeen(2, "in_doubt", "unknown")]
    assert complete(two, current) == FencedOut(AlreadyDone(recorded))
    assert bench.calls() == [CallSeen(1, "answered", "yes"), CallSeen(2, "answered", "yes")]
    assert bench.row().calls == 2


def test_a_late_answer_ends_what_has_become_of_nobody(bench: Bench, stale: Granted) -> None:
    put_off(bench.ledger("two"), granted(bench.ledger("two")), CallClass.NOT_SENT)
    assert isinstance(complete(bench.ledger(), stale), Recorded)
    assert told(claimed(bench.ledger("three"))).result == ANSWER


@pytest.mark.parametrize(
    ("now", "state", "charged"),
    [(HeldElsewhere, "working", "unknown"), (AlreadyDone, "done", "yes")],
)
def test_a_late_doubt_is_not_counted_again_and_changes_nothing_when_repeated(
    bench: Bench, stale: Granted, now: type, state: str, charged: str
) -> None:
    two = bench.ledger("two")
    current = granted(two)
    if state == "done":
        complete(two, current)
    late = Entry(ask(), stale, fault(CallClass.IN_DOUBT, UNKNOWN), in_doubt())
    (first,) = bench.ledger().record([late], [])
    assert isinstance(first, FencedOut)
    assert isinstance(first.now, now)
    before = bench.row(), bench.calls()
    assert (before[0].state, before[0].charged, before[0].in_doubt_calls) == (state, charged, 1)
    assert bench.ledger().record([late], []) == [first]
    assert (bench.row(), bench.calls()) == before


@pytest.mark.parametrize("report", [UNTRIED, fault(CallClass.NOT_SENT), fault(CallClass.THROTTLED)])
def test_a_doubt_of_a_call_that_was_free_is_taken_back(
    bench: Bench, stale: Granted, report: CallReport
) -> None:
    granted(bench.ledger("two"), ask(wants_call=False))
    assert bench.row().in_doubt_calls == 1
    leave(bench.ledger(), stale, report)
    assert (bench.row().in_doubt_calls, bench.row().charged) == (0, "no")
    assert bench.calls() == [CallSeen(1, report.call_class, "no")]


def test_a_free_call_leaves_the_doubt_of_another_one(bench: Bench, stale: Granted) -> None:
    granted(bench.ledger("two"))
    bench.lapse()
    granted(bench.ledger("three", max_in_doubt_calls=2))
    leave(bench.ledger(), stale, fault(CallClass.THROTTLED))
    assert (bench.row().in_doubt_calls, bench.row().charged) == (1, "unknown")


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize(
    ("late", "charged"),
    [(fault(CallClass.SOURCE_FAILED, Charged.YES), "yes"), (fault(CallClass.THROTTLED), "no")],
)
def test_what_a_late_call_was_charged_counts_beside_the_free_one_that_is_recorded_after_it(
    bench: Bench, stale: Granted, late: CallReport, charged: str, ends: bool
) -> None:
    two = bench.ledger("two")
    current = granted(two)
    assert current.charged is UNKNOWN
    leave(bench.ledger(), stale, late)
    free, no_answer = fault(CallClass.NOT_SENT), replace(ANSWER, charged=UNKNOWN)
    later = RetryLater(0, counted=False, reason=free.call_class, charged=UNKNOWN)
    entry = Entry(ask(), current, free, Complete(no_answer) if ends else later)
    (recorded,) = two.record([entry], [])
    assert bench.row().charged == charged
    if ends:
        assert told(recorded).result.charged == charged
    else:  # no call follows one that is known to be paid
        assert granted(two, batch="3").call_number == (None if charged == "yes" else 3)


def test_a_finished_request_keeps_its_row_and_the_call_is_booked(
    bench: Bench, stale: Granted
) -> None:
    two = bench.ledger("two")
    complete(two, granted(two))
    before = bench.row()
    recorded = complete(bench.ledger(), stale)
    assert isinstance(recorded, FencedOut)
    assert bench.row() == before
    assert bench.calls()[0] == CallSeen(1, "answered", "yes")


# What an asynchronous failover leaves.


def test_a_row_that_is_gone_is_written_again_and_the_others_stay(bench: Bench) -> None:
    ledger = bench.ledger()
    others = [granted(ledger, ask(each)) for each in ("a", "b", "c")]
    bench.lose("b")
    entries = [Entry(ask(each.request_id), each, MATCH, Complete(ANSWER)) for each in others]
    assert [told(each).result for each in ledger.record(entries, [])] == [ANSWER] * 3
    assert bench.calls("b") == [CallSeen(1, "answered", "yes")]
    assert bench.row("b") == bench.row("a")


def test_a_row_that_is_gone_waits_with_all_that_was_known(bench: Bench, stale: Granted) -> None:
    two = bench.ledger("two", max_in_doubt_calls=2)
    current = granted(two)
    bench.lose("onb-1")
    put_off(two, current, counted=True, charged=UNKNOWN)
    row = bench.row()
    assert (row.state, row.attempts, row.calls, row.in_doubt_calls) == ("waiting", 1, 2, 1)
    assert bench.calls() == [CallSeen(2, "unavailable", "unknown")]
    assert granted(two).call_number == 3


def test_a_request_that_was_never_called_is_gone_without_a_call(bench: Bench) -> None:
    ledger = bench.ledger()
    claim = granted(ledger)
    bench.lose("onb-1")
    assert leave(ledger, claim) == Recorded(None)
    assert (bench.row().state, bench.row().calls, bench.calls()) == ("waiting", 0, [])


def test_one_that_another_worker_wrote_again_has_both_calls(bench: Bench) -> None:
    """Both hold grant 1: the owner tells them apart."""
    one, two = bench.ledger(), bench.ledger("two")
    first = granted(one)
    bench.lose("onb-1")
    second = granted(two)
    assert first.grant == second.grant
    assert isinstance(put_off(one, first, charged=UNKNOWN), FencedOut)
    assert bench.row().state == "working"
    assert bench.calls() == [CallSeen(1, None, "unknown"), CallSeen(2, "unavailable", "unknown")]
    assert (bench.row().calls, bench.row().in_doubt_calls) == (2, 1)
    assert put_off(two, second) == Recorded(None)
    assert bench.calls()[0] == CallSeen(1, "unavailable", "no")


@pytest.mark.parametrize("done", [True, False])
def test_what_another_worker_made_of_a_row_under_the_same_grant_is_not_ours(
    bench: Bench, done: bool
) -> None:
    one, two = bench.ledger(), bench.ledger("two")
    first = granted(one)
    bench.lose("onb-1")
    second = granted(two)
    assert isinstance(complete(two, second) if done else put_off(two, second), Recorded)
    gave_up = DeadLetter(in_doubt().result, ErrorKind.IN_DOUBT)
    late = Entry(ask(), first, fault(CallClass.IN_DOUBT, UNKNOWN), gave_up)
    (recorded,) = one.record([late], [])
    assert isinstance(recorded, FencedOut)
    assert isinstance(recorded.now, AlreadyDone if done else HeldElsewhere)


def test_an_intent_that_goes_leaves_the_next_call_a_number(bench: Bench) -> None:
    one, two = bench.ledger(), bench.ledger("two")
    first = granted(one)
    bench.lose("onb-1")
    second = granted(two)
    put_off(one, first)
    assert leave(two, second) == Recorded(None)
    assert [call.call_class for call in bench.calls()] == ["not_sent", "unavailable"]
    assert granted(two).call_number == 3


def test_a_row_that_was_set_back_is_ended_by_an_answer_and_else_comes_again(bench: Bench) -> None:
    one = bench.ledger()
    put_off(one, granted(one))
    bench.keep("onb-1")
    current = granted(one)
    bench.set_back("onb-1")
    gave_up = DeadLetter(in_doubt().result, ErrorKind.IN_DOUBT)
    late = Entry(ask(), current, fault(CallClass.IN_DOUBT, UNKNOWN), gave_up)
    assert isinstance(one.record([late], [])[0], FencedOut)
    row = bench.row()
    assert (row.state, row.calls, row.in_doubt_calls, row.charged) == ("waiting", 2, 1, "unknown")
    bench.set_back("onb-1")
    assert isinstance(complete(one, current), Recorded)
    assert [call.charged for call in bench.calls()] == ["no", "yes"]
