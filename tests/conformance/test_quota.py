"""What every `Ledger` promises where calls are limited: no call too many, none paid twice."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.conformance.bench import Bench
from tests.conformance.test_ledger import complete, granted, put_off
from tests.fakes.messages import ask
from worker.core.claims import (
    AlreadyDone,
    Claim,
    Conflicting,
    Entry,
    Granted,
    HeldElsewhere,
    Postponed,
    Recorded,
    Shortage,
)
from worker.core.outcome import CallClass, CallReport, Charged, ErrorKind, RetryLater
from worker.core.request import Lane, Mode
from worker.store import quota

A_DAY = 86_400
A_MINUTE_AND_THE_MARGIN = 64.0  # from one call to the next, with one call a minute


@pytest.fixture
def far_ahead(monkeypatch: pytest.MonkeyPatch) -> float:
    """Give places out for an hour, so that a slow machine loses none; return its seconds."""
    monkeypatch.setattr(quota, "HORIZON", timedelta(hours=1))
    return 3600.0


def ids(count: int, prefix: str = "onb") -> list[str]:
    """Return so many request ids."""
    return [f"{prefix}-{number}" for number in range(count)]


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


def postponed(claims: Sequence[Claim]) -> list[Postponed]:
    """Return the claims that came to nothing for now."""
    return [claim for claim in claims if isinstance(claim, Postponed)]


# No limit.


def test_without_limits_no_call_waits_and_no_quota_is_counted(bench: Bench) -> None:
    claims = bench.ledger().claim([ask(each) for each in ids(5)], "1")
    assert waits(claims) == [0.0] * 5
    assert bench.calls_today() == 0


# The daily budget.


def test_the_first_of_a_batch_get_what_is_left_of_the_budget(bench: Bench) -> None:
    names = ["z", "a", "m", "b", "y"]
    claims = bench.ledger(daily_call_budget=3).claim([ask(each) for each in names], "1")
    assert called(claims) == ["z", "a", "m"]
    assert waits(claims) == [0.0] * 3
    assert [type(claim) for claim in claims[3:]] == [Postponed, Postponed]
    assert bench.calls_today() == 3


def test_a_postponed_request_is_not_written_down(bench: Bench) -> None:
    bench.ledger(daily_call_budget=1).claim([ask("one"), ask("two")], "1")
    assert bench.has("one")
    assert not bench.has("two")


def test_a_spent_budget_postpones_until_the_day_ends(bench: Bench) -> None:
    (claim,) = bench.ledger(daily_call_budget=0).claim([ask()], "1")
    assert isinstance(claim, Postponed)
    assert claim.shortage is Shortage.DAILY_BUDGET
    assert 0 < claim.seconds <= A_DAY


def test_all_workers_share_one_budget(bench: Bench) -> None:
    batch = [ask(each) for each in ids(4)]
    first = bench.ledger("one", daily_call_budget=5).claim(batch, "1")
    second = bench.ledger("two", daily_call_budget=5).claim(
        [ask(each) for each in ids(4, "other")], "1"
    )
    assert (len(called(first)), len(called(second))) == (4, 1)


def test_live_and_sandbox_have_a_budget_each(bench: Bench) -> None:
    sandbox = bench.ledger("one", mode=Mode.SANDBOX, daily_call_budget=3)
    live = bench.ledger("two", mode=Mode.LIVE, daily_call_budget=1)
    assert called(sandbox.claim([ask("s-1"), ask("s-2")], "1")) == ["s-1", "s-2"]
    assert called(live.claim([ask("l-1"), ask("l-2")], "1")) == ["l-1"]
    assert (bench.calls_today(Mode.SANDBOX), bench.calls_today(Mode.LIVE)) == (2, 1)
    assert called(sandbox.claim([ask("s-3"), ask("s-4")], "2")) == ["s-3"]


def test_a_new_day_has_a_new_budget(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    ledger.claim([ask(each) for each in ids(2)], "1")
    bench.end_the_day()
    claims = ledger.claim([ask(each) for each in ids(3, "next")], "2")
    assert called(claims) == ids(2, "next")
    assert bench.calls_today() == 2


def test_a_postponed_request_is_claimed_as_a_new_one_later(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=1)
    ledger.claim([ask("one"), ask("two")], "1")
    bench.end_the_day()
    claim = granted(ledger, ask("two"), "2")
    assert (claim.grant, claim.call_number) == (1, 1)


# What costs nothing.


def test_requests_that_want_no_call_are_granted_when_the_budget_is_spent(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=0)
    claims = ledger.claim([ask("paid"), ask("rejected", wants_call=False)], "1")
    assert isinstance(claims[0], Postponed)
    assert isinstance(claims[1], Granted)
    assert claims[1].call_number is None
    assert bench.calls_today() == 0


def test_copies_are_answered_when_the_budget_is_spent(bench: Bench) -> None:
    """They cost no call, so nobody who asks again waits until midnight."""
    ledger, other = bench.ledger(daily_call_budget=3), bench.ledger("two", daily_call_budget=3)
    complete(ledger, granted(ledger, ask("done"), "1"))
    granted(other, ask("held"), "1")
    granted(other, ask("conflict"), "2")
    batch = [ask("new"), ask("done"), ask("held"), ask("conflict", fingerprint=b"\x09" * 32)]
    claims = ledger.claim(batch, "2")
    assert [type(each) for each in claims] == [Postponed, AlreadyDone, HeldElsewhere, Conflicting]
    assert bench.calls_today() == 3


@pytest.mark.parametrize("budget", [1, 4, 100], ids=["scarce", "just-enough", "plenty"])
def test_copies_leave_the_budget_to_those_that_need_it(bench: Bench, budget: int) -> None:
    """In short supply too, and though they stand before them in the batch."""
    free = bench.ledger()
    complete(free, granted(free, ask("done"), "1"))
    granted(bench.ledger("two"), ask("held"), "1")
    granted(bench.ledger("live", mode=Mode.LIVE), ask("other-mode"), "1")
    limited = bench.ledger("three", daily_call_budget=budget)
    batch = [ask("done"), ask("held"), ask("other-mode"), ask("new")]
    assert called(limited.claim(batch, "1")) == ["new"]
    assert bench.calls_today() == 1


def test_a_request_of_the_other_mode_conflicts_when_the_budget_is_spent(bench: Bench) -> None:
    live = bench.ledger(mode=Mode.LIVE)
    put_off(live, granted(live))
    (claim,) = bench.ledger("two", daily_call_budget=0).claim([ask()], "1")
    assert claim == Conflicting(ErrorKind.MODE_MISMATCH)


def test_a_take_over_without_another_call_costs_nothing(bench: Bench) -> None:
    granted(bench.ledger())
    bench.set_lease("onb-1", -1)
    two = bench.ledger("two", max_in_doubt_calls=0, daily_call_budget=5)
    assert granted(two).call_number is None
    assert bench.calls_today() == 0


# What costs a call.


def test_a_take_over_with_another_call_costs_one(bench: Bench) -> None:
    granted(bench.ledger(daily_call_budget=5))
    bench.set_lease("onb-1", -1)
    assert granted(bench.ledger("two", daily_call_budget=5)).call_number == 2
    assert bench.calls_today() == 2


def test_a_retry_costs_another_one(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    put_off(ledger, granted(ledger, batch="1"))
    put_off(ledger, granted(ledger, batch="2"))
    (claim,) = ledger.claim([ask()], "3")
    assert isinstance(claim, Postponed)
    assert bench.calls_today() == 2


def test_what_waits_for_a_retry_is_left_as_it_is_when_postponed(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=1)
    put_off(ledger, granted(ledger), CallClass.UNAVAILABLE, charged=Charged.UNKNOWN)
    before = bench.row("onb-1")
    ledger.claim([ask()], "2")
    assert bench.row("onb-1") == before


def test_what_has_lapsed_is_left_as_it_is_when_postponed(bench: Bench) -> None:
    granted(bench.ledger(daily_call_budget=1))
    bench.set_lease("onb-1", -1)
    bench.ledger("two", daily_call_budget=1).claim([ask()], "1")
    assert bench.row("onb-1").in_doubt_calls == 0
    assert bench.lease_left("onb-1") < 0


# A claim whose answer was lost.


def test_a_repeated_claim_is_not_paid_twice(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=10)
    batch = [ask(each) for each in ids(3)]
    assert ledger.claim(batch, "7") == ledger.claim(batch, "7")
    assert bench.calls_today() == 3
    assert [len(bench.calls(each)) for each in ids(3)] == [1, 1, 1]


def test_a_repeated_claim_finds_its_grants_though_the_budget_is_spent(bench: Bench) -> None:
    """Their calls are paid for: to postpone them would leave the intents in doubt."""
    ledger = bench.ledger(daily_call_budget=3)
    batch = [ask(each) for each in ids(5)]
    first, second = ledger.claim(batch, "7"), ledger.claim(batch, "7")
    assert called(first) == called(second) == ids(3)
    assert first[:3] == second[:3]
    assert [claim.shortage for claim in postponed(second)] == [Shortage.DAILY_BUDGET] * 2
    assert bench.calls_today() == 3


def test_a_repeated_claim_takes_the_new_budget_for_what_is_new_alone(bench: Bench) -> None:
    batch = [ask(each) for each in ids(5)]
    bench.ledger(daily_call_budget=3).claim(batch, "7")
    claims = bench.ledger(daily_call_budget=4).claim(batch, "7")
    assert called(claims) == ids(4)
    assert bench.calls_today() == 4


@pytest.mark.parametrize("budget", [None, 1, 5])
def test_a_repeated_claim_that_lapsed_is_the_same_claim_and_costs_nothing(
    bench: Bench, budget: int | None
) -> None:
    """Its answer was lost, the database away for longer than the lease, and nobody came between."""
    ledger = bench.ledger(daily_call_budget=budget, max_in_doubt_calls=0)
    first = granted(ledger, batch="7")
    bench.set_lease("onb-1", -1)
    assert granted(ledger, batch="7") == first
    assert bench.lease_left("onb-1") > 0
    assert bench.row().in_doubt_calls == 0
    assert bench.calls_today() == (budget is not None)


def test_a_repeated_claim_gets_places_anew(bench: Bench, far_ahead: float) -> None:
    """The old ones may have passed while the database was away."""
    ledger = bench.ledger(calls_per_minute=1)
    granted(ledger, ask("one"), "7")
    bench.let_slots_pass(far_ahead)
    assert granted(ledger, ask("two"), "8").wait == 0
    assert 0 < granted(ledger, ask("one"), "7").wait <= A_MINUTE_AND_THE_MARGIN


# Calls per minute.


def test_calls_have_their_places_one_after_the_other(bench: Bench) -> None:
    place, batch = 64.05 / 999, [ask(each, lane=Lane.BULK) for each in ids(5)]
    claims = bench.ledger(calls_per_minute=1000).claim(batch, "1")
    assert waits(claims) == pytest.approx([number * place for number in range(5)], abs=1e-5)


def test_live_calls_begin_before_their_places_by_one_place_and_a_moment(bench: Bench) -> None:
    place, batch = 64.05 / 999, [ask(each) for each in ids(5)]
    claims = bench.ledger(calls_per_minute=1000).claim(batch, "1")
    early = [max(0, number * place - place - 0.05) for number in range(5)]
    assert waits(claims) == pytest.approx(early, abs=1e-5)


def test_places_are_given_for_the_next_second_alone(bench: Bench) -> None:
    claims = bench.ledger(calls_per_minute=100).claim([ask(each) for each in ids(4)], "1")
    assert called(claims) == ids(2)  # at 0 and 0.65 s; the next would be at 1.29 s
    assert [type(claim) for claim in claims[2:]] == [Postponed, Postponed]


def test_a_request_without_a_place_is_postponed_until_its_place_is_near(bench: Bench) -> None:
    claims = bench.ledger(calls_per_minute=100).claim([ask(each) for each in ids(4)], "1")
    for claim in postponed(claims):
        assert claim.shortage is Shortage.CALLS_PER_MINUTE
        assert claim.seconds == pytest.approx(0.294, abs=1e-3)  # at 1.294 s, given out 1 s before


@pytest.mark.usefixtures("far_ahead")
def test_the_places_of_two_workers_follow_each_other(bench: Bench) -> None:
    one = bench.ledger("one", calls_per_minute=1)
    two = bench.ledger("two", calls_per_minute=1)
    assert granted(one, ask("one")).wait == 0
    assert 0 < granted(two, ask("two")).wait <= A_MINUTE_AND_THE_MARGIN


def test_live_and_sandbox_have_places_of_their_own(bench: Bench) -> None:
    sandbox = bench.ledger("one", calls_per_minute=1)
    live = bench.ledger("two", mode=Mode.LIVE, calls_per_minute=1)
    assert granted(sandbox, ask("s")).wait == granted(live, ask("l")).wait == 0


def test_a_place_that_has_passed_is_lost(bench: Bench) -> None:
    """An idle minute saves nothing up: the next one would have twice its calls."""
    ledger = bench.ledger(calls_per_minute=100)
    granted(ledger, ask("before"), "1")
    bench.let_slots_pass(3600)
    claims = ledger.claim([ask(each) for each in ids(10)], "2")
    assert called(claims) == ids(2)


def test_only_those_that_call_take_a_place(bench: Bench) -> None:
    ledger = bench.ledger(calls_per_minute=1000)
    complete(ledger, granted(ledger, ask("done", lane=Lane.BULK), "1"))
    bench.let_slots_pass(60)
    batch = [ask(each, lane=Lane.BULK) for each in ("done", "a", "b")]
    claims = ledger.claim([*batch[:2], ask("rejected", wants_call=False), batch[2]], "2")
    places = {claim.request_id: claim.wait for claim in claims if isinstance(claim, Granted)}
    assert places == pytest.approx({"a": 0, "rejected": 0, "b": 64.05 / 999}, abs=1e-5)


def test_the_nearer_of_two_limits_counts(bench: Bench) -> None:
    limited = bench.ledger(calls_per_minute=100, daily_call_budget=3)
    first = limited.claim([ask(each) for each in ids(4)], "1")
    assert called(first) == ids(2)
    assert {claim.shortage for claim in postponed(first)} == {Shortage.CALLS_PER_MINUTE}
    bench.let_slots_pass(60)
    second = limited.claim([ask(each) for each in ids(4, "next")], "2")
    assert called(second) == ids(1, "next")
    assert {claim.shortage for claim in postponed(second)} == {Shortage.DAILY_BUDGET}


# The database's clock was set back.


def test_a_place_in_the_far_future_is_a_minute_away_at_most(bench: Bench) -> None:
    ledger = bench.ledger(calls_per_minute=100)
    granted(ledger, ask("before"), "1")
    bench.let_slots_pass(-3600)
    new, free = ledger.claim([ask("new"), ask("rejected", wants_call=False)], "2")
    assert isinstance(new, Postponed)
    assert new.seconds <= 60
    assert isinstance(free, Granted)
    bench.let_slots_pass(61)
    assert isinstance(ledger.claim([ask("new")], "3")[0], Granted)


def test_a_budget_alone_lets_no_call_wait(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=5)
    granted(ledger, ask("before"), "1")
    bench.let_slots_pass(-3600)
    assert granted(ledger, ask("new"), "2").wait == 0


# Calls that were not sent after all.


@pytest.mark.parametrize("sends", [0, 1], ids=["intent-taken-back", "not-sent"])
def test_a_call_that_was_not_sent_costs_nothing_of_the_budget(bench: Bench, sends: int) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    claim = granted(ledger, batch="1")
    granted(ledger, ask("other"), "1b")
    entry = unsent(claim, sends)
    assert ledger.record([entry], []) == [Recorded(None)]
    assert bench.calls_today() == 1
    assert ledger.record([entry], []) == [Recorded(None)]  # its answer was lost
    assert bench.calls_today() == 1
    granted(ledger, batch="2")


def test_a_call_that_was_made_keeps_its_token(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    put_off(ledger, granted(ledger), CallClass.UNAVAILABLE)
    assert bench.calls_today() == 1


def test_a_token_of_yesterday_is_not_returned_today(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    claim = granted(ledger)
    bench.age_calls(days=1)
    ledger.record([unsent(claim, 0)], [])
    assert bench.calls_today() == 1


def test_a_late_record_returns_the_token_of_what_was_not_sent(bench: Bench) -> None:
    one, two = bench.ledger(daily_call_budget=5), bench.ledger("two", daily_call_budget=5)
    stale = granted(one)
    bench.set_lease("onb-1", -1)
    granted(two)
    assert bench.calls_today() == 2
    for _ in range(2):
        one.record([unsent(stale, 0)], [])
        assert bench.calls_today() == 1
    assert bench.row().in_doubt_calls == 0


def unsent(claim: Granted, sends: int) -> Entry:
    """Return what is recorded of a call that did not leave."""
    report = CallReport(CallClass.NOT_SENT, Charged.NO, sends=sends)
    return Entry(
        ask(claim.request_id), claim, report, RetryLater(0, False, CallClass.NOT_SENT, Charged.NO)
    )
