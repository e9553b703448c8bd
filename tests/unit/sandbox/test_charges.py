"""The counts: in the process, and over HTTP."""

import contextlib
import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest

from tests.unit.sandbox.caller import FAR_TOO_LONG, Caller, Signer
from worker.sandbox.acts import Manner, Reset, Respond
from worker.sandbox.charges import ChargeCounts, Charges, PeakRate, subject_digest
from worker.sandbox.magic import ACTS, BY_NAME

ANYONE = "11010119900307109X"
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


def test_no_id_number_is_in_the_counts(caller: Caller) -> None:
    id_card = BY_NAME["match"].id_card
    caller.call(id_card)
    assert id_card.encode() not in caller.request("GET", "/charges").body
    assert subject_digest(id_card) == "3597c5c9c7a80377"


@pytest.mark.parametrize(("method", "path"), [("POST", "/reset"), ("DELETE", "/charges")])
def test_a_reset_by_request_zeroes_the_counts(caller: Caller, method: str, path: str) -> None:
    caller.call(BY_NAME["match"].id_card)
    assert caller.request(method, path).status == 200
    counts = caller.sandbox.charges()
    assert not any(getattr(counts, each.name) for each in fields(ChargeCounts))


def test_the_peak_rate_is_of_calendar_minutes_and_of_any_sixty_seconds() -> None:
    rate = PeakRate()
    for now in (30.0, 59.0, 59.9, 60.0, 89.0, 90.0, 200.0):
        rate.count(now)
    assert rate.per_minute == 3, "30, 59 and 59.9; or 60, 89 and 90"
    assert rate.per_60_seconds == 5, "30 to 89.99; 30 has left at 90"


def test_waiting_for_calls_ends_when_they_have_come() -> None:
    charges = Charges()
    assert not charges.wait_for_calls(1, timeout=0)
    charges.count_refused(0.0)
    assert charges.wait_for_calls(1, timeout=0)


def test_a_wait_for_calls_is_ended_by_the_call_it_waits_for(caller: Caller) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(caller.sandbox.wait_for_calls, 20, FAR_TOO_LONG)
        for _ in range(20):
            caller.call(ANYONE)
        assert waiting.result(FAR_TOO_LONG / 2), "woken by the call, not by the time"


def test_acts_are_what_calls_did_and_behaviours_what_their_numbers_say(caller: Caller) -> None:
    for _ in range(3):
        caller.call(BY_NAME["recovers_after_1"].id_card)
    counts = caller.sandbox.charges()
    assert counts.by_behaviour == {"recovers_after_1": 3}
    assert counts.acts == {"unavailable": 1, "match": 2}


def test_only_some_acts_lose_the_answer_to_a_charged_call() -> None:
    losing = {
        name
        for name, act in ACTS.items()
        if act.charged and (not isinstance(act, Respond) or act.manner is Manner.TRUNCATED)
    }
    assert losing == LOSING
    assert [name for name, act in ACTS.items() if act == Reset(charged=True)] == [
        "reset_after_charge"
    ]


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
        assert caller.sandbox.wait_for_calls(calls)
    counts = caller.sandbox.charges()
    assert (counts.calls, counts.answered) == (calls, len(ANSWERED) + 1)
    assert (counts.charges, counts.charges_answered) == (8, 5)
    assert counts.charges - counts.charges_answered == sum(counts.acts[name] for name in LOSING)


def test_a_client_that_leaves_before_its_answer_was_charged_and_not_answered(
    caller: Caller,
) -> None:
    caller.play({"latency": 0.2})
    with caller.connect() as client:
        client.sendall(caller.raw_call(ANYONE))
        assert caller.sandbox.wait_for_calls(1)
    caller.call(ANYONE)  # begun later, so its answer came when the other's was long due
    counts = caller.sandbox.charges()
    assert (counts.charges, counts.charges_answered, counts.answered) == (2, 1, 1)


def test_a_call_from_before_a_reset_is_in_no_later_count(caller: Caller) -> None:
    caller.play({"latency": 0.2})
    with caller.connect() as client:
        client.sendall(caller.raw_call(ANYONE))
        assert caller.sandbox.wait_for_calls(1)
        caller.sandbox.reset()
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    counts = caller.sandbox.charges()
    assert (counts.calls, counts.answered, counts.charges_answered) == (0, 0, 0)


def test_nonsense_after_a_call_is_not_a_second_answer_to_it(caller: Caller) -> None:
    answers = caller.exchange(caller.raw_call(ANYONE) + b"nonsense\r\n\r\n")
    assert answers.count(b"Server:") == 2
    assert caller.sandbox.charges().answered == 1


def test_what_is_no_call_is_not_counted_as_answered(caller: Caller) -> None:
    for method, path in (("GET", "/charges"), ("GET", "/v1/personal"), ("GET", "/scenario")):
        caller.request(method, path)
    assert caller.exchange(b"nonsense\r\n\r\n")
    assert caller.sandbox.charges().answered == 0
