"""The counts: in the process, and over HTTP."""

import pytest

from tests.unit.sandbox.caller import Caller, Signer
from worker.sandbox.charges import Charges, PeakRate, subject_digest
from worker.sandbox.magic import BY_NAME


def test_charges_are_counted_by_behaviour_and_by_subject(caller: Caller) -> None:
    match, mismatch, none = (BY_NAME[name].id_card for name in ("match", "mismatch", "no_record"))
    for id_card in (match, match, mismatch, none):
        caller.call(id_card)
    Caller(caller.sandbox, Signer(secret_key="wrong")).call(match)
    counts = caller.request("GET", "/charges").json
    for figure in ("calls_per_minute", "calls_per_60_seconds"):
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
    assert (counts.calls, counts.charges, counts.by_subject) == (0, 0, {})
    assert counts.calls_per_minute == counts.calls_per_60_seconds == 0


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
