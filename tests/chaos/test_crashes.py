"""A worker is killed at every step of a message's life; another one finishes the work."""

from __future__ import annotations

import pytest

from tests.chaos.killed_worker import Backlog, StateAfterKill, crash, recover
from tests.e2e.harness import REQUESTS, Stack, free_port, until


def test_when_killed_before_the_claim_then_nothing_is_in_doubt(stack: Stack) -> None:
    backlog = Backlog.mixed(stack)
    for step in ("delivered", "parsed", "claim_unsent"):
        state = crash(stack, step)
        assert (state.results, state.calls, state.events) == ({}, {}, 0)
        assert state.messages == len(backlog.messages)
    accounts = recover(stack, backlog)
    assert accounts.in_doubt == 0
    assert accounts.charges["charges"] == accounts.paid


@pytest.mark.parametrize("step", ["claim_sent", "claim_answer_unread", "claimed", "call_unsent"])
def test_when_killed_between_claim_and_call_then_nobody_is_charged_twice(
    stack: Stack, step: str
) -> None:
    backlog = Backlog.mixed(stack)
    state = crash(stack, step)
    assert (state.results, state.charges["calls"]) == ({}, 0)
    until(lambda: stack.count("calls"))  # the server may commit after its client has died
    intents = stack.count("calls")
    accounts = recover(stack, backlog)
    # Nobody can know that the calls did not leave, so each is repeated, and only once.
    assert accounts.in_doubt == intents
    assert accounts.charges["charges"] == accounts.paid


@pytest.mark.parametrize("step", ["call_charged", "answered", "decided", "record_unsent"])
def test_when_killed_between_charge_and_record_then_the_doubt_is_in_the_ledger(
    stack: Stack, step: str
) -> None:
    backlog = Backlog.mixed(stack)
    state = crash(stack, step)
    assert state.charges["charges"] >= 1
    assert (state.results, state.events) == ({}, 0)
    accounts = recover(stack, backlog)
    assert accounts.paid < accounts.charges["charges"] <= accounts.paid + accounts.in_doubt


RECORDED = ["record_sent", "record_answer_unread", "unpublished:result"]
ANNOUNCED = [
    f"{stage}:result" for stage in ("published", "confirm_unread", "unacked", "ack_unsent", "acked")
]


@pytest.mark.parametrize("step", RECORDED + ANNOUNCED)
def test_when_killed_between_record_and_mark_then_no_call_is_repeated(
    stack: Stack, step: str
) -> None:
    backlog = Backlog.plain(stack, 12)
    crash(stack, step)
    # The server may commit, and what was written arrive, after the writer's death.
    until(lambda: stack.depth("collector") if step in ANNOUNCED else stack.count())
    if step == "acked:result":
        until(lambda: stack.depth(REQUESTS) < 12)
    state = StateAfterKill.of(stack)
    assert state.results
    assert bool(state.events) == (step in ANNOUNCED)
    assert state.messages == 12 or step == "acked:result"
    state.assert_done_stays_done(recover(stack, backlog))


@pytest.mark.parametrize(
    "steps",
    [
        "unpublished:retrying published:retrying unacked:retrying acked:retrying",
        "unpublished:dead_letter published:dead_letter unacked:dead_letter acked:dead_letter",
        "unpublished:replayed published:replayed ack_unsent:replayed",
        "unpublished:rejected confirm_unread:rejected",
        "unpublished:held_elsewhere unacked:held_elsewhere",
        "unpublished:unreadable unacked:unreadable unpublished:conflict acked:conflict",
        "mark_unsent mark_sent marked",
    ],
)
def test_when_killed_again_and_again_on_the_way_out_then_nothing_is_lost(
    stack: Stack, steps: str
) -> None:
    backlog = Backlog.mixed(stack)
    # No call in no time: results are recorded together, and one crash must not take all of a kind.
    stack.provider.play(latency=0.02)
    states = []
    for number, step in enumerate(steps.split()):
        backlog.grow(stack, number)  # or the crashes before have taken all of this kind along
        states.append(crash(stack, step))
    accounts = recover(stack, backlog)
    for state in states:
        state.assert_done_stays_done(accounts)


def test_when_killed_with_calls_under_way_at_a_stop_then_nothing_is_lost(stack: Stack) -> None:
    backlog = Backlog.mixed(stack)
    state = crash(stack, "stopping_consumer_stopped")
    state.assert_done_stays_done(recover(stack, backlog))


def test_when_killed_later_in_a_stop_then_all_that_was_paid_for_is_recorded(stack: Stack) -> None:
    backlog = Backlog.mixed(stack)
    first = crash(stack, "stopping_closed", nth=5)
    # What is finished is announced once and acknowledged: an orderly stop repeats nothing.
    assert first.results
    assert first.events + first.messages == len(backlog.messages)
    stages = ["stopping_pipeline_stopped", "stopping_drained", "stopping_marks_flushed"]
    states = [first, *[crash(stack, stage, nth=2) for stage in stages]]
    accounts = recover(stack, backlog)
    for state in states:
        state.assert_done_stays_done(accounts)
    assert accounts.in_doubt == 0
    assert accounts.charges["charges"] == accounts.paid


def test_when_killed_between_taking_over_and_doubting_then_the_call_is_doubted_once(
    stack: Stack,
) -> None:
    backlog = Backlog.plain(stack, 6)
    crash(stack, "call_charged")
    calls = stack.count("calls")
    crash(stack, "take_over_unsent")
    assert stack.count("calls") == calls
    accounts = recover(stack, backlog)
    assert accounts.count("match") == 6
    assert all(row["in_doubt_calls"] <= 1 for row in accounts.results.values())
    assert accounts.in_doubt == calls


@pytest.mark.parametrize("step", ["take_over_sent", "take_over_answer_unread"])
def test_when_killed_between_taking_over_and_calling_then_both_calls_are_in_doubt(
    stack: Stack, step: str
) -> None:
    backlog = Backlog.plain(stack, 6)
    state = crash(stack, "call_charged")
    again = crash(stack, step)
    assert again.charges["calls"] == state.charges["calls"]
    until(lambda: stack.count("calls") > sum(state.calls.values()))
    accounts = recover(stack, backlog)
    given_up = [row for row in accounts.results.values() if row["error_kind"] == "in_doubt"]
    assert given_up
    assert all(row["in_doubt_calls"] == 2 for row in given_up)
    # Who was not taken over by the killed worker may be called once more.
    assert accounts.charges["charges"] <= again.charges["charges"] + 6 - len(given_up)


@pytest.mark.parametrize("step", ["late_unbooked", "late_uncommitted", "late_booked"])
def test_when_killed_over_a_result_that_came_late_then_it_is_booked_or_in_doubt(
    stack: Stack, step: str
) -> None:
    backlog = Backlog.plain(stack, 6)
    state = crash(stack, step)
    assert state.results or step != "late_booked"
    state.assert_done_stays_done(recover(stack, backlog))


def test_when_killed_over_a_row_that_had_vanished_then_its_outcome_stands(stack: Stack) -> None:
    backlog = Backlog.plain(stack, 1)
    state = crash(stack, "vanished_restored")
    assert len(state.results) == 1
    accounts = recover(stack, backlog)
    state.assert_done_stays_done(accounts)
    assert accounts.charges["charges"] == 1


@pytest.mark.parametrize("step", ["tokens_unreturned", "tokens_returned"])
def test_when_killed_over_tokens_of_unsent_calls_then_each_is_returned_once(
    stack: Stack, step: str
) -> None:
    backlog = Backlog.plain(stack, 6)
    nobody = f"http://127.0.0.1:{free_port()}/v1/personal"
    crash(stack, step, PROVIDER_URL=nobody, DAILY_CALL_BUDGET="100")
    accounts = recover(stack, backlog, DAILY_CALL_BUDGET="100")
    sent = [c for calls in accounts.calls.values() for c in calls if c["class"] != "not_sent"]
    assert stack.as_owner(
        "SELECT FROM verification.call_quota WHERE calls_today = %s", len(sent)
    ), f"{len(sent)} calls were or may have been sent"


@pytest.mark.parametrize("crashes", [1, 2])
def test_when_killed_in_a_call_once_more_than_may_be_doubted_then_the_request_fails_in_doubt(
    stack: Stack, crashes: int
) -> None:
    backlog = Backlog.plain(stack, 1, copies=2)  # somebody asks again
    for charges in range(1, crashes + 1):
        assert crash(stack, "call_charged").charges["charges"] == charges
    accounts = recover(stack, backlog, MAX_IN_DOUBT_CALLS=str(crashes - 1))
    (row,) = accounts.results.values()
    assert (row["outcome"], row["error_kind"], row["charged"]) == ("failed", "in_doubt", "unknown")
    assert row["calls"] == row["in_doubt_calls"] == crashes
    assert accounts.charges["charges"] == accounts.charges["calls"] == crashes
    assert ("in_doubt", "plain-0") in accounts.dead
