"""A paid answer is given again for a while, where that is asked for."""

from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.bench import GIVEN_UP, Bench, claimed, complete, granted, put_off, told
from tests.fakes.messages import ask
from tests.integration.store.upkeep import ANSWER, finish
from worker.core.claims import AlreadyDone, ClaimRequest, Granted, HeldElsewhere, Postponed
from worker.core.digests import Digest
from worker.core.outcome import Charged, Outcome, Result
from worker.core.request import Mode
from worker.core.retry import reuse
from worker.ports import Ledger

REUSING: dict[str, Any] = {"reuse_seconds": 3600.0}
OTHER_DATA = ask("second", fingerprint=b"\x09" * 32)
UNPAID = replace(ANSWER, outcome=Outcome.NO_RECORD, charged=Charged.NO)
MISMATCH = replace(ANSWER, outcome=Outcome.MISMATCH)
UNDER_NEW_KEY = ask(
    "second",
    key_id="k2",
    fingerprint=b"\x03" * 32,
    former=(Digest("k1", b"\x01" * 32, b"\x02" * 32),),
)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    """Give one that reuses answers, and has the answer to the request `first`."""
    reusing = bench.ledger(**REUSING)
    finish(reusing, ask("first"))
    return reusing


def given_again(ledger: Ledger, request_id: str) -> Granted:
    """Let a request end with the answer that was paid for."""
    claim = granted(ledger, ask(request_id))
    assert claim.reuse is not None
    result = reuse(claim.reuse, claim).result
    complete(ledger, claim, result, report=None)
    return claim


def test_the_same_person_and_data_need_no_call(bench: Bench, ledger: Ledger) -> None:
    """What is recorded names who paid, and is not charged."""
    claim = given_again(ledger, "second")
    assert claim.reuse is not None
    assert (claim.call_number, claim.calls) == (None, 0)
    assert (claim.reuse.request_id, claim.reuse.result) == ("first", ANSWER)
    assert bench.calls("second") == []
    known = told(claimed(ledger, ask("second")))
    assert known.result == replace(ANSWER, charged=Charged.NO, reused_from="first")
    assert (known.calls, bench.row("second").charged) == (0, "no")


@pytest.mark.parametrize(
    ("options", "first", "minutes", "asked", "again"),
    [
        (REUSING, ANSWER, 0, ask("second"), True),
        (REUSING, MISMATCH, 0, ask("second"), True),
        (REUSING, ANSWER, 0, UNDER_NEW_KEY, True),
        ({}, ANSWER, 0, ask("second"), False),
        (REUSING, ANSWER, 61, ask("second"), False),
        (REUSING, UNPAID, 0, ask("second"), False),
        (REUSING, GIVEN_UP, 0, ask("second"), False),
        (REUSING, ANSWER, 0, OTHER_DATA, False),
        (REUSING | {"mode": Mode.LIVE}, ANSWER, 0, ask("second"), False),
    ],
    ids="match mismatch former-key off too-old unpaid no-answer other-data other-mode".split(),
)
def test_an_answer_is_given_again_or_paid_for(
    bench: Bench,
    options: dict[str, Any],
    first: Result,
    minutes: int,
    asked: ClaimRequest,
    *,
    again: bool,
) -> None:
    finish(bench.ledger(), ask("first"), result=first)
    bench.age(minutes)
    claim = granted(bench.ledger("two", **options), asked)
    assert (claim.call_number, claim.reuse is not None) == ((None, True) if again else (1, False))


def test_the_window_begins_with_the_call_and_not_with_a_reuse(bench: Bench, ledger: Ledger) -> None:
    given_again(ledger, "second")
    third = granted(ledger, ask("third"))
    assert third.reuse is not None
    assert third.reuse.request_id == "first"
    bench.age(61, "first")
    assert granted(ledger, ask("fourth")).call_number == 1


def test_a_request_that_waits_for_another_attempt_is_answered(bench: Bench) -> None:
    ledger = bench.ledger(**REUSING)
    put_off(ledger, granted(ledger, ask("second")))
    finish(bench.ledger("without reuse"), ask("first"))
    claim = granted(ledger, ask("second"))
    assert (claim.call_number, claim.calls) == (None, 1)
    assert claim.reuse is not None


def test_a_call_in_doubt_of_its_own_stays_perhaps_charged(bench: Bench) -> None:
    ledger = bench.ledger(**REUSING)
    granted(ledger, ask("second"))
    bench.lapse()
    finish(ledger, ask("first"))
    claim = granted(ledger, ask("second"))
    assert claim.reuse is not None
    assert reuse(claim.reuse, claim).result.charged is Charged.UNKNOWN


def test_a_repeated_claim_gives_the_same_answer_until_it_is_too_old(
    bench: Bench, ledger: Ledger
) -> None:
    first = granted(ledger, ask("second"), "7")
    assert first.reuse is not None
    assert granted(ledger, ask("second"), "7") == first
    bench.age(61, "first")
    claim = granted(ledger, ask("second"), "7")
    assert (claim.call_number, claim.reuse) == (1, None)
    assert len(bench.calls("second")) == 1


def test_it_costs_nothing_of_the_budget(bench: Bench) -> None:
    ledger = bench.ledger(**REUSING, daily_call_budget=1)
    finish(ledger, ask("first"))
    second, other = ledger.claim([ask("second"), ask("other", fingerprint=b"\x09" * 32)], "2")
    assert isinstance(second, Granted)
    assert second.reuse is not None
    assert isinstance(other, Postponed)
    assert bench.calls_today() == 1


# Several at once.


def test_of_two_at_once_one_asks_and_the_other_waits_for_its_answer(bench: Bench) -> None:
    one, two = bench.ledger(**REUSING), bench.ledger("two", **REUSING)
    claim = granted(one, ask("first"))
    assert isinstance(claimed(two, ask("second")), HeldElsewhere)
    assert not bench.has("second")
    complete(one, claim)
    again = granted(two, ask("second"))
    assert again.reuse is not None
    assert again.reuse.request_id == "first"


@pytest.mark.parametrize("options", [{}, {"daily_call_budget": 9}], ids=["free", "budget"])
def test_of_two_in_one_batch_the_first_asks(bench: Bench, options: dict[str, Any]) -> None:
    ledger = bench.ledger(**REUSING, **options)
    batch = [ask("first"), ask("second"), ask("other", fingerprint=b"\x09" * 32)]
    kinds = [Granted, HeldElsewhere, Granted]
    for _ in range(2):  # the first answer was lost
        assert [type(each) for each in ledger.claim(batch, "7")] == kinds
    assert bench.calls_today() == (2 if options else 0)


def test_who_has_died_or_waits_for_a_message_that_is_gone_holds_nobody(bench: Bench) -> None:
    ledger = bench.ledger(**REUSING)
    claim = granted(ledger, ask("first"))
    bench.lapse()
    assert granted(ledger, ask("second")).call_number == 1
    bench.lose("second")
    put_off(ledger, claim, delay=120)
    assert isinstance(claimed(ledger, ask("third")), HeldElsewhere)
    bench.age(4, "first")
    assert granted(ledger, ask("third")).call_number == 1


def test_of_two_that_wait_the_older_one_goes_first(bench: Bench) -> None:
    free, ledger = bench.ledger(), bench.ledger("two", **REUSING)
    for each in ("older", "newer"):
        put_off(free, granted(free, ask(each)))
    assert isinstance(claimed(ledger, ask("newer")), HeldElsewhere)
    assert granted(ledger, ask("older")).call_number == 2


def test_a_copy_of_a_finished_request_waits_for_nobody(bench: Bench) -> None:
    free = bench.ledger()
    finish(free, ask("done"), result=GIVEN_UP)
    granted(free, ask("open"))
    assert isinstance(claimed(bench.ledger("two", **REUSING), ask("done")), AlreadyDone)
