"""The counts over HTTP, and how they count a minute."""

import contextlib
import http.client
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sandbox.caller import (
    ANYONE,
    FAR_TOO_LONG,
    OF_ANY_DATE,
    Caller,
    HeldSleep,
    RunningSandbox,
    Signer,
)
from worker.sandbox.behaviours import Manner
from worker.sandbox.charges import SlidingMinute, subject_digest
from worker.sandbox.magic import ACTS, BY_NAME
from worker.sandbox.settings import SandboxSettings

LOSING = {"reset_after_charge", "hang_after_charge", "truncated"}


def test_charges_are_counted_by_behaviour_and_by_subject(caller: Caller) -> None:
    match, mismatch, none = (BY_NAME[name].id_card for name in ("match", "mismatch", "no_record"))
    for id_card in (match, match, mismatch, none):
        caller.call(id_card)
    Caller(caller.sandbox, Signer(secret_key="wrong")).call(match)
    counts = caller.request("GET", "/charges").json
    for figure in ("calls_per_minute", "calls_per_60_seconds", "max_calls_per_minute"):
        assert 1 <= counts.pop(figure) <= 5
    assert counts == {
        "calls": 5,
        "charges": 3,
        "refused": 1,
        "by_behaviour": {"match": 2, "mismatch": 1, "no_record": 1},
        "by_subject": {
            subject_digest(match): {"calls": 2, "charges": 2},
            subject_digest(mismatch): {"calls": 1, "charges": 1},
            subject_digest(none): {"calls": 1, "charges": 0},
        },
        "max_calls_per_subject": 2,
        "max_charges_per_subject": 2,
        "acts": {"match": 2, "mismatch": 1, "no_record": 1},
        "answered": 5,
        "charges_answered": 3,
    }
    assert subject_digest(match) == "3597c5c9c7a80377"


@pytest.mark.parametrize(("method", "path"), [("POST", "/reset"), ("DELETE", "/charges")])
def test_a_reset_by_request_zeroes_the_counts(caller: Caller, method: str, path: str) -> None:
    before = caller.request("GET", "/charges").json
    caller.call(BY_NAME["match"].id_card)
    assert caller.request(method, path).status == 200
    assert caller.request("GET", "/charges").json == before
    assert not any(before.values())


def test_acts_are_what_calls_did_and_behaviours_what_their_numbers_say(caller: Caller) -> None:
    for _ in range(3):
        caller.call(BY_NAME["recovers_after_1"].id_card)
    counts = caller.counts()
    assert counts.by_behaviour == {"recovers_after_1": 3}
    assert counts.acts == {"unavailable": 1, "match": 2}


def test_only_some_acts_lose_the_answer_to_a_charged_call() -> None:
    losing = (Manner.RESET, Manner.NEVER, Manner.TRUNCATED)
    assert {name for name, act in ACTS.items() if act.charged and act.manner in losing} == LOSING


ANSWERED = ("match", "no_record", "internal", "html", "slow", "dripping", "dripping_head", "huge")
LOST = ("truncated", "reset_after_charge", "reset_before_charge")
HANGING = ("hang_after_charge", "hang_before_charge")


def test_every_charge_is_answered_or_its_act_lost_the_answer(caller: Caller) -> None:
    for name in ANSWERED:
        caller.call(BY_NAME[name].id_card)
    Caller(caller.sandbox, Signer(secret_key="wrong")).call(ANYONE)
    for name in LOST:
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            caller.call(BY_NAME[name].id_card)
    with contextlib.ExitStack() as hanging:
        for name in HANGING:
            client = hanging.enter_context(caller.connect())
            client.sendall(caller.raw_call(BY_NAME[name].id_card))
        calls = len(ANSWERED) + 1 + len(LOST) + len(HANGING)
        caller.sandbox.wait_for_calls(calls)
    counts = caller.counts()
    assert (counts.calls, counts.answered) == (calls, len(ANSWERED) + 1)
    assert (counts.charges, counts.charges_answered) == (8, 5)
    assert counts.charges - counts.charges_answered == sum(counts.acts[name] for name in LOSING)


@pytest.fixture
def held() -> Iterator[tuple[Caller, HeldSleep]]:
    """Give a sandbox whose calls are answered when the test says so."""
    sleep = HeldSleep()
    with RunningSandbox(SandboxSettings(latency=60.0), sleep=sleep) as sandbox:
        yield Caller(sandbox), sleep


def test_a_charge_is_counted_before_the_latency(held: tuple[Caller, HeldSleep]) -> None:
    caller, sleep = held
    with caller.connect() as client:
        client.sendall(caller.raw_call(ANYONE))
        assert sleep.begun.acquire(timeout=FAR_TOO_LONG)
        counts = caller.counts()
        assert (counts.charges, counts.answered) == (1, 0)
        sleep.end()
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert caller.counts().charges_answered == 1
    assert sleep.asked == [60.0]


def test_a_client_that_leaves_before_its_answer_was_charged_and_not_answered(
    held: tuple[Caller, HeldSleep],
) -> None:
    caller, sleep = held
    with caller.connect() as client:
        client.sendall(caller.raw_call(ANYONE))
        assert sleep.begun.acquire(timeout=FAR_TOO_LONG)
    caller.counts()  # asked later, so the sandbox has seen the client leave
    sleep.end()
    counts = caller.counts()
    assert (counts.charges, counts.charges_answered, counts.answered) == (1, 0, 0)


def test_a_call_from_before_a_reset_is_in_no_later_count(held: tuple[Caller, HeldSleep]) -> None:
    caller, sleep = held
    with caller.connect() as client:
        client.sendall(caller.raw_call(ANYONE))
        assert sleep.begun.acquire(timeout=FAR_TOO_LONG)
        caller.reset()
        sleep.end()
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    counts = caller.counts()
    assert (counts.calls, counts.answered, counts.charges_answered) == (0, 0, 0)


# The most calls in a minute.

# Halves, so that times fall together, and exactly 60 s apart, often.
TIMES = st.lists(st.integers(0, 400).map(lambda half: half / 2), max_size=40).map(sorted)


def within(times: list[float], now: float) -> int:
    return sum(now - 60 < time <= now for time in times)


@given(TIMES, st.integers(0, 5))
@settings(deadline=None)
def test_a_sliding_minute_counts_what_is_in_it_and_holds_back_what_exceeds_a_limit_alone(
    times: list[float], limit: int
) -> None:
    minute, all_that_came = SlidingMinute(), SlidingMinute()
    passed: list[float] = []
    for place, now in enumerate(times):
        assert all_that_came.add(now) == within(times[: place + 1], now)
        room = within(passed, now) < limit
        assert minute.add_below(limit, now) is room
        if room:
            passed.append(now)
            assert within(passed, now) <= limit


def test_the_peaks_are_of_calendar_minutes_of_whole_seconds_and_exact() -> None:
    moments = [0.5, 30.0, 59.0, 60.4, 60.5, 89.0, 300.0]
    with RunningSandbox(OF_ANY_DATE, clock=iter(moments).__next__) as sandbox:
        caller = Caller(sandbox)
        for _ in moments:
            caller.call(ANYONE)
        counts = caller.counts()
    assert counts.calls_per_minute == 3, "0.5, 30 and 59; or 60.4, 60.5 and 89"
    assert counts.calls_per_60_seconds == 5, "30 to 89; second 0 has left at second 60"
    assert counts.max_calls_per_minute == 5, "30 to 89; 0.5 has left at 60.5"
