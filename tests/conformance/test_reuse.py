"""A paid answer is given again for a while, where that is asked for."""

from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.bench import Bench
from tests.conformance.test_ledger import ANSWER, GIVEN_UP, complete, granted, put_off
from tests.fakes.messages import ask
from worker.core.claims import AlreadyDone, Granted, HeldElsewhere, Postponed
from worker.core.digests import Digest
from worker.core.outcome import Charged, Outcome, Result
from worker.core.request import Mode
from worker.core.retry import reuse
from worker.ports import Ledger

HOUR = 3600.0


def paid(ledger: Ledger, request_id: str = "first", result: Result = ANSWER) -> None:
    """Let a request end with an answer."""
    asked = ask(request_id)
    complete(ledger, granted(ledger, asked, request_id), result, asked=asked)


def test_the_same_person_and_data_need_no_call(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    claim = granted(ledger, ask("second"), "2")
    assert claim.call_number is None
    assert claim.calls == 0
    assert claim.reuse is not None
    assert claim.reuse.request_id == "first"
    assert claim.reuse.result == ANSWER
    assert bench.calls("second") == []


def test_what_is_recorded_names_who_paid_and_is_not_charged(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    claim = granted(ledger, ask("second"), "2")
    assert claim.reuse is not None
    result = reuse(claim.reuse, claim).result
    complete(ledger, claim, result, report=None, asked=ask("second"))
    (known,) = ledger.claim([ask("second")], "3")
    assert isinstance(known, AlreadyDone)
    assert known.stored.result == replace(ANSWER, charged=Charged.NO, reused_from="first")
    assert (known.stored.calls, bench.row("second").charged) == (0, "no")


def test_it_is_off_unless_it_is_asked_for(bench: Bench) -> None:
    ledger = bench.ledger()
    paid(ledger)
    claim = granted(ledger, ask("second"), "2")
    assert (claim.call_number, claim.reuse) == (1, None)


def test_after_the_window_it_is_paid_again(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    bench.age(61, "first")
    assert granted(ledger, ask("second"), "2").call_number == 1


def test_the_window_begins_with_the_call_and_not_with_a_reuse(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    claim = granted(ledger, ask("second"), "2")
    assert claim.reuse is not None
    result = reuse(claim.reuse, claim).result
    complete(ledger, claim, result, report=None, asked=ask("second"))
    third = granted(ledger, ask("third"), "3")
    assert third.reuse is not None
    assert third.reuse.request_id == "first"
    bench.age(61, "first")
    assert granted(ledger, ask("fourth"), "4").call_number == 1


@pytest.mark.parametrize(
    "result", [replace(ANSWER, outcome=Outcome.NO_RECORD, charged=Charged.NO), GIVEN_UP]
)
def test_what_was_not_paid_or_no_answer_is_asked_again(bench: Bench, result: Result) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger, result=result)
    assert granted(ledger, ask("second"), "2").call_number == 1


def test_a_mismatch_is_an_answer_too(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger, result=replace(ANSWER, outcome=Outcome.MISMATCH))
    assert granted(ledger, ask("second"), "2").call_number is None


def test_other_data_of_the_same_person_is_paid(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    other = ask("second", fingerprint=b"\x09" * 32)
    assert granted(ledger, other, "2").call_number == 1


def test_an_answer_of_the_other_mode_is_never_given(bench: Bench) -> None:
    paid(bench.ledger(mode=Mode.SANDBOX))
    live = bench.ledger("live", mode=Mode.LIVE, reuse_seconds=HOUR)
    assert granted(live, ask("second")).call_number == 1


def test_an_answer_under_the_former_key_is_found(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    former = Digest("k1", b"\x01" * 32, b"\x02" * 32)
    asked = ask("second", key_id="k2", fingerprint=b"\x03" * 32, former=(former,))
    assert granted(ledger, asked, "2").call_number is None


def test_a_request_that_waits_for_another_attempt_is_answered(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    put_off(ledger, granted(ledger, ask("second")))
    paid(bench.ledger("without reuse"))
    claim = granted(ledger, ask("second"), "2")
    assert (claim.call_number, claim.calls) == (None, 1)
    assert claim.reuse is not None


def test_a_call_in_doubt_of_its_own_stays_perhaps_charged(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    granted(ledger, ask("second"))
    bench.set_lease("second", -1)
    paid(ledger)
    claim = granted(ledger, ask("second"), "2")
    assert claim.reuse is not None
    assert reuse(claim.reuse, claim).result.charged is Charged.UNKNOWN


def test_a_repeated_claim_gives_the_same_answer(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    batch = [ask("second")]
    assert ledger.claim(batch, "7") == ledger.claim(batch, "7")


def test_a_repeated_claim_whose_answer_grew_old_meanwhile_makes_the_call(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    paid(ledger)
    granted(ledger, ask("second"), "7")
    bench.age(61, "first")
    claim = granted(ledger, ask("second"), "7")
    assert (claim.call_number, claim.reuse) == (1, None)
    assert len(bench.calls("second")) == 1


def test_it_costs_nothing_of_the_budget(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR, daily_call_budget=1)
    paid(ledger)
    second, other = ledger.claim([ask("second"), ask("other", fingerprint=b"\x09" * 32)], "2")
    assert isinstance(second, Granted)
    assert second.reuse is not None
    assert isinstance(other, Postponed)
    assert bench.calls_today() == 1


# Several at once.


def test_of_two_at_once_one_asks_and_the_other_waits_for_its_answer(bench: Bench) -> None:
    one, two = bench.ledger(reuse_seconds=HOUR), bench.ledger("two", reuse_seconds=HOUR)
    claim = granted(one, ask("first"))
    (held,) = two.claim([ask("second")], "1")
    assert isinstance(held, HeldElsewhere)
    assert not bench.has("second")
    complete(one, claim, asked=ask("first"))
    again = granted(two, ask("second"), "2")
    assert again.reuse is not None
    assert again.reuse.request_id == "first"


@pytest.mark.parametrize("options", [{}, {"daily_call_budget": 9}], ids=["free", "budget"])
def test_of_two_in_one_batch_the_first_asks(bench: Bench, options: dict[str, Any]) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR, **options)
    other = ask("other", fingerprint=b"\x09" * 32)
    batch = [ask("first"), ask("second"), other]
    kinds = [Granted, HeldElsewhere, Granted]
    claims = ledger.claim(batch, "7")
    assert [type(each) for each in claims] == kinds
    assert [type(each) for each in ledger.claim(batch, "7")] == kinds  # its answer was lost
    assert bench.calls_today() == (2 if options else 0)


def test_who_has_died_or_waits_for_a_message_that_is_gone_holds_nobody(bench: Bench) -> None:
    ledger = bench.ledger(reuse_seconds=HOUR)
    claim = granted(ledger, ask("first"))
    bench.set_lease("first", -1)
    assert granted(ledger, ask("second"), "2").call_number == 1
    bench.lose("second")
    put_off(ledger, claim, delay=120)
    assert isinstance(ledger.claim([ask("third")], "3")[0], HeldElsewhere)
    bench.age(4, "first")
    assert granted(ledger, ask("third"), "4").call_number == 1


def test_of_two_that_wait_the_older_one_goes_first(bench: Bench) -> None:
    free, ledger = bench.ledger(), bench.ledger("two", reuse_seconds=HOUR)
    put_off(free, granted(free, ask("older"), "1"))
    put_off(free, granted(free, ask("newer"), "2"))
    assert isinstance(ledger.claim([ask("newer")], "1")[0], HeldElsewhere)
    assert granted(ledger, ask("older"), "2").call_number == 2


def test_a_copy_of_a_finished_request_waits_for_nobody(bench: Bench) -> None:
    free, ledger = bench.ledger(), bench.ledger("two", reuse_seconds=HOUR)
    complete(free, granted(free, ask("done"), "1"), GIVEN_UP, asked=ask("done"))
    granted(free, ask("open"), "2")
    assert isinstance(ledger.claim([ask("done")], "1")[0], AlreadyDone)
