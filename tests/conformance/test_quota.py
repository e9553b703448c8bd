"""What every `Ledger` promises where calls are limited: no call too many, none paid twice."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.conformance.bench import UNTRIED, Bench, claimed, granted, leave, put_off
from tests.fakes.messages import ask
from tests.fakes.verifier import fault
from tests.integration.store.upkeep import finish
from worker.core.claims import (
    AlreadyDone,
    Claim,
    ClaimRequest,
    Conflicting,
    Granted,
    HeldElsewhere,
    Postponed,
    Recorded,
    Shortage,
)
from worker.core.outcome import CallClass, CallReport, Charged, ErrorKind
from worker.core.request import Lane, Mode
from worker.store import quota

A_DAY = 86_400
A_MINUTE_AND_THE_MARGIN = 64.0  # from one call to the next, with one call a minute
PLACE = 64.05 / 999  # from one call to the next, with 1,000 calls a minute


@pytest.fixture
def far_ahead(monkeypatch: pytest.MonkeyPatch) -> float:
    """Give places out for an hour, so that a slow machine loses none; return its seconds."""
    monkeypatch.setattr(quota, "HORIZON", timedelta(hours=1))
    return 3600.0


def ids(count: int, prefix: str = "onb") -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def several(*names: str, **options: Any) -> list[ClaimRequest]:
    return [ask(each, **options) for each in names]


def called(claims: Sequence[Claim]) -> list[str]:
    """Return the ids that were granted a call."""
    return [
        claim.request_id
        for claim in claims
        if isinstance(claim, Granted) and claim.call_number is not None
    ]


def waits(claims: Sequence[Claim]) -> list[float]:
    """Return the places of the granted calls, in seconds from the claim."""
    return [claim.wait for claim in claims if isinstance(claim, Granted)]


def shortages(claims: Sequence[Claim]) -> list[Shortage]:
    """Return why claims came to nothing for now."""
    return [claim.shortage for claim in claims if isinstance(claim, Postponed)]


def test_without_limits_no_call_waits_and_no_quota_is_counted(bench: Bench) -> None:
    claims = bench.ledger().claim(several(*ids(5)), "1")
    assert waits(claims) == [0.0] * 5
    assert bench.calls_today() == 0


# The daily budget.


def test_the_first_of_a_batch_get_what_is_left_of_the_budget(bench: Bench) -> None:
    """The others are not written down: with the next day's budget they are claimed as new ones."""
    ledger = bench.ledger(daily_call_budget=3)
    claims = ledger.claim(several("z", "a", "m", "b", "y"), "1")
    assert called(claims) == ["z", "a", "m"]
    assert waits(claims) == [0.0] * 3
    assert [type(claim) for claim in claims[3:]] == [Postponed, Postponed]
    assert bench.calls_today() == 3
    assert not bench.has("b")
    bench.end_the_day()
    claims = ledger.claim(several("b", *ids(3)), "2")
    assert called(claims) == ["b", *ids(2)]
    assert isinstance(claims[0], Granted)
    assert (claims[0].grant, claims[0].call_number) == (1, 1)
    assert bench.calls_today() == 3


def test_a_spent_budget_postpones_until_the_day_ends_who_wants_a_call(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=0)
    paid, rejected = ledger.claim([ask("paid"), ask("rejected", wants_call=False)], "1")
    assert isinstance(paid, Postponed)
    assert paid.shortage is Shortage.DAILY_BUDGET
    assert 0 < paid.seconds <= A_DAY
    assert isinstance(rejected, Granted)
    assert (rejected.call_number, bench.calls_today()) == (None, 0)


def test_all_workers_share_one_budget(bench: Bench) -> None:
    first = bench.ledger("one", daily_call_budget=5).claim(several(*ids(4)), "1")
    second = bench.ledger("two", daily_call_budget=5).claim(several(*ids(4, "other")), "1")
    assert (len(called(first)), len(called(second))) == (4, 1)


def test_live_and_sandbox_have_a_budget_each(bench: Bench) -> None:
    sandbox = bench.ledger("one", mode=Mode.SANDBOX, daily_call_budget=3)
    live = bench.ledger("two", mode=Mode.LIVE, daily_call_budget=1)
    assert called(sandbox.claim(several("s-1", "s-2"), "1")) == ["s-1", "s-2"]
    assert called(live.claim(several("l-1", "l-2"), "1")) == ["l-1"]
    assert (bench.calls_today(Mode.SANDBOX), bench.calls_today(Mode.LIVE)) == (2, 1)
    assert called(sandbox.claim(several("s-3", "s-4"), "2")) == ["s-3"]


# What costs nothing, and what costs a call.


def test_copies_are_answered_when_the_budget_is_spent(bench: Bench) -> None:
    """They cost no call, so nobody who asks again waits until midnight."""
    ledger, other = bench.ledger(daily_call_budget=3), bench.ledger("two", daily_call_budget=3)
    finish(ledger, ask("done"))
    granted(other, ask("held"))
    granted(other, ask("conflict"))
    live = bench.ledger("live", mode=Mode.LIVE)
    put_off(live, granted(live, ask("other-mode")))
    batch = several("new", "done", "held", "other-mode")
    claims = ledger.claim([*batch, ask("conflict", fingerprint=b"\x09" * 32)], "2")
    assert [type(each) for each in claims[:3]] == [Postponed, AlreadyDone, HeldElsewhere]
    assert claims[3:] == [Conflicting(ErrorKind.MODE_MISMATCH), Conflicting(ErrorKind.CONFLICT)]
    assert bench.calls_today() == 3


@pytest.mark.parametrize("budget", [1, 4, 100], ids=["scarce", "just-enough", "plenty"])
def test_copies_leave_the_budget_to_those_that_need_it(bench: Bench, budget: int) -> None:
    """In short supply too, and though they stand before them in the batch."""
    finish(bench.ledger(), ask("done"))
    granted(bench.ledger("two"), ask("held"))
    granted(bench.ledger("live", mode=Mode.LIVE), ask("other-mode"))
    limited = bench.ledger("three", daily_call_budget=budget)
    assert called(limited.claim(several("done", "held", "other-mode", "new"), "1")) == ["new"]
    assert bench.calls_today() == 1


@pytest.mark.usefixtures("stale")
@pytest.mark.parametrize(("limit", "call_number", "cost"), [(0, None, 0), (1, 2, 1)])
def test_a_take_over_costs_the_call_that_it_makes(
    bench: Bench, limit: int, call_number: int | None, cost: int
) -> None:
    two = bench.ledger("two", max_in_doubt_calls=limit, daily_call_budget=5)
    assert granted(two).call_number == call_number
    assert bench.calls_today() == cost


def test_a_retry_costs_another_call_and_waits_as_it_is_when_postponed(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    for _ in range(2):
        put_off(ledger, granted(ledger), charged=Charged.UNKNOWN)
    before = bench.row()
    assert isinstance(claimed(ledger), Postponed)
    assert bench.calls_today() == 2
    assert bench.row() == before


def test_what_has_lapsed_is_left_as_it_is_when_postponed(bench: Bench) -> None:
    granted(bench.ledger(daily_call_budget=1))
    bench.lapse()
    assert isinstance(claimed(bench.ledger("two", daily_call_budget=1)), Postponed)
    assert bench.row().in_doubt_calls == 0
    assert bench.held_for() < 0


# A claim whose answer was lost.


def test_a_repeated_claim_finds_its_grants_and_pays_for_what_is_new_alone(bench: Bench) -> None:
    """Their calls are paid for: to postpone them would leave the intents in doubt."""
    ledger, batch = bench.ledger(daily_call_budget=3), several(*ids(5))
    first, second = ledger.claim(batch, "7"), ledger.claim(batch, "7")
    assert called(first) == called(second) == ids(3)
    assert first[:3] == second[:3]
    assert shortages(second) == [Shortage.DAILY_BUDGET] * 2
    assert bench.calls_today() == 3
    third = bench.ledger(daily_call_budget=4).claim(batch, "7")
    assert called(third) == ids(4)
    assert bench.calls_today() == 4
    assert [len(bench.calls(each)) for each in ids(4)] == [1] * 4


@pytest.mark.parametrize("budget", [None, 1, 5])
def test_a_repeated_claim_that_lapsed_is_the_same_claim_and_costs_nothing(
    bench: Bench, budget: int | None
) -> None:
    """Its answer was lost, the database away for longer than the lease, and nobody came between."""
    ledger = bench.ledger(daily_call_budget=budget, max_in_doubt_calls=0)
    first = granted(ledger, batch="7")
    bench.lapse()
    assert granted(ledger, batch="7") == first
    assert bench.held_for() > 0
    assert bench.row().in_doubt_calls == 0
    assert bench.calls_today() == (budget is not None)


def test_a_repeated_claim_gets_places_anew(bench: Bench, far_ahead: float) -> None:
    """The old ones may have passed while the database was away."""
    ledger = bench.ledger(calls_per_minute=1)
    granted(ledger, ask("one"), "7")
    bench.let_slots_pass(far_ahead)
    assert granted(ledger, ask("two")).wait == 0
    assert 0 < granted(ledger, ask("one"), "7").wait <= A_MINUTE_AND_THE_MARGIN


# Calls per minute.


@pytest.mark.parametrize(("lane", "early"), [(Lane.BULK, 0), (Lane.LIVE, PLACE + 0.05)])
def test_calls_have_their_places_and_live_begins_one_place_and_a_moment_before(
    bench: Bench, lane: Lane, early: float
) -> None:
    claims = bench.ledger(calls_per_minute=1000).claim(several(*ids(5), lane=lane), "1")
    places = [max(0, number * PLACE - early) for number in range(5)]
    assert waits(claims) == pytest.approx(places, abs=1e-5)


def test_places_are_given_for_the_next_second_alone(bench: Bench) -> None:
    claims = bench.ledger(calls_per_minute=100).claim(several(*ids(4)), "1")
    assert called(claims) == ids(2)  # at 0 and 0.65 s; the next would be at 1.29 s
    assert shortages(claims) == [Shortage.CALLS_PER_MINUTE] * 2
    until = [claim.seconds for claim in claims if isinstance(claim, Postponed)]
    assert until == pytest.approx([0.294] * 2, abs=1e-3)  # at 1.294 s, given out 1 s before


@pytest.mark.usefixtures("far_ahead")
def test_the_places_of_two_workers_of_one_mode_follow_each_other(bench: Bench) -> None:
    one, two = bench.ledger("one", calls_per_minute=1), bench.ledger("two", calls_per_minute=1)
    live = bench.ledger("live", mode=Mode.LIVE, calls_per_minute=1)
    assert granted(one, ask("one")).wait == granted(live, ask("live")).wait == 0
    assert 0 < granted(two, ask("two")).wait <= A_MINUTE_AND_THE_MARGIN


def test_a_place_that_has_passed_is_lost(bench: Bench) -> None:
    """An idle minute saves nothing up: the next one would have twice its calls."""
    ledger = bench.ledger(calls_per_minute=100)
    granted(ledger, ask("before"))
    bench.let_slots_pass(3600)
    assert called(ledger.claim(several(*ids(10)), "2")) == ids(2)


def test_only_those_that_call_take_a_place(bench: Bench) -> None:
    ledger = bench.ledger(calls_per_minute=1000)
    finish(ledger, ask("done", lane=Lane.BULK))
    bench.let_slots_pass(60)
    done, first, second = several("done", "a", "b", lane=Lane.BULK)
    claims = ledger.claim([done, first, ask("rejected", wants_call=False), second], "2")
    places = {claim.request_id: claim.wait for claim in claims if isinstance(claim, Granted)}
    assert places == pytest.approx({"a": 0, "rejected": 0, "b": PLACE}, abs=1e-5)


def test_the_nearer_of_two_limits_counts(bench: Bench) -> None:
    limited = bench.ledger(calls_per_minute=100, daily_call_budget=3)
    first = limited.claim(several(*ids(4)), "1")
    assert called(first) == ids(2)
    assert set(shortages(first)) == {Shortage.CALLS_PER_MINUTE}
    bench.let_slots_pass(60)
    second = limited.claim(several(*ids(4, "next")), "2")
    assert called(second) == ids(1, "next")
    assert set(shortages(second)) == {Shortage.DAILY_BUDGET}


# The database's clock was set back.


def test_a_place_in_the_far_future_is_a_minute_away_at_most(bench: Bench) -> None:
    ledger = bench.ledger(calls_per_minute=100)
    granted(ledger, ask("before"))
    bench.let_slots_pass(-3600)
    new, free = ledger.claim([ask("new"), ask("rejected", wants_call=False)], "2")
    assert isinstance(new, Postponed)
    assert new.seconds <= 60
    assert isinstance(free, Granted)
    bench.let_slots_pass(61)
    granted(ledger, ask("new"))


def test_a_budget_alone_lets_no_call_wait(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=5)
    granted(ledger, ask("before"))
    bench.let_slots_pass(-3600)
    assert granted(ledger, ask("new")).wait == 0


# Calls that were not sent after all.


@pytest.mark.parametrize(
    "report", [UNTRIED, fault(CallClass.NOT_SENT)], ids=["intent-taken-back", "not-sent"]
)
def test_a_call_that_was_not_sent_costs_nothing_of_the_budget(
    bench: Bench, report: CallReport
) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    claim = granted(ledger)
    granted(ledger, ask("other"))
    for _ in range(2):  # the first answer was lost
        assert leave(ledger, claim, report) == Recorded(None)
        assert bench.calls_today() == 1
    granted(ledger)


def test_a_token_of_yesterday_is_not_returned_today(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    claim = granted(ledger)
    bench.age(24 * 60)
    leave(ledger, claim)
    assert bench.calls_today() == 1


def test_a_late_record_returns_the_token_of_what_was_not_sent(bench: Bench) -> None:
    one, two = bench.ledger(daily_call_budget=5), bench.ledger("two", daily_call_budget=5)
    stale = granted(one)
    bench.lapse()
    granted(two)
    assert bench.calls_today() == 2
    for _ in range(2):
        leave(one, stale)
        assert bench.calls_today() == 1
    assert bench.row().in_doubt_calls == 0
