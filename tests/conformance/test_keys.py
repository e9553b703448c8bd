"""While DIGEST_KEY is rotated rows stand under two keys, and workers know both, or one of them."""

import pytest

from tests.conformance.bench import Bench
from tests.conformance.test_ledger import complete, granted, put_off
from tests.fakes.messages import ask
from worker.core.claims import AlreadyDone, ClaimRequest, Conflicting, Granted, HeldElsewhere
from worker.core.digests import Digest
from worker.core.outcome import ErrorKind

OLD = Digest("k1", b"\x01" * 32, b"\x02" * 32)
NEW = Digest("k2", b"\x03" * 32, b"\x04" * 32)


def under(*digests: Digest, request_id: str = "onb-1", wants_call: bool = True) -> ClaimRequest:
    """Return what a worker asks that has these keys, the first of them the current one."""
    current, *former = digests
    return ask(
        request_id,
        fingerprint=current.fingerprint,
        subject=current.subject or b"",
        key_id=current.key_id,
        former=tuple(former),
        wants_call=wants_call,
    )


def test_a_finished_request_under_the_former_key_is_known(bench: Bench) -> None:
    ledger = bench.ledger()
    complete(ledger, granted(ledger, under(OLD)), asked=under(OLD))
    (claim,) = ledger.claim([under(NEW, OLD)], "2")
    assert isinstance(claim, AlreadyDone)
    assert bench.request()["digest_key"] == "k1", "nothing of a finished row changes"


def test_a_waiting_request_is_taken_and_comes_under_the_new_key(bench: Bench) -> None:
    ledger = bench.ledger()
    put_off(ledger, granted(ledger, under(OLD)))
    claim = granted(ledger, under(NEW, OLD), "2")
    assert (claim.call_number, claim.grant) == (2, 2)
    assert bench.request()["digest_key"] == "k2"
    complete(ledger, claim, asked=under(NEW, OLD))
    (again,) = ledger.claim([under(NEW)], "3")
    assert isinstance(again, AlreadyDone)


@pytest.mark.usefixtures("stale")
def test_a_lapsed_lease_under_the_former_key_is_taken_over_with_its_doubt(bench: Bench) -> None:
    claim = granted(bench.ledger("two"), under(NEW, OLD))
    assert (claim.call_number, claim.in_doubt_calls) == (2, 1)
    assert bench.request()["digest_key"] == "k2"


def test_one_that_another_worker_holds_is_held_under_any_key(bench: Bench) -> None:
    granted(bench.ledger(), under(OLD))
    (claim,) = bench.ledger("two").claim([under(NEW, OLD)], "1")
    assert isinstance(claim, HeldElsewhere)
    assert bench.request()["digest_key"] == "k1"


@pytest.mark.parametrize("done", [False, True])
def test_other_data_conflicts_under_every_key(bench: Bench, *, done: bool) -> None:
    ledger = bench.ledger()
    claim = granted(ledger, under(OLD))
    if done:
        complete(ledger, claim, asked=under(OLD))
    else:
        put_off(ledger, claim)
    other = Digest("k1", b"\x09" * 32, None)
    (answer,) = ledger.claim([under(NEW, other)], "2")
    assert answer == Conflicting(ErrorKind.CONFLICT)
    assert bench.request()["digest_key"] == "k1"


def test_an_open_request_under_an_unknown_key_waits_for_who_has_it(bench: Bench) -> None:
    """A worker of the last release meets what one of the new release has begun."""
    new = bench.ledger("new")
    put_off(new, granted(new, under(NEW, OLD)))
    (claim,) = bench.ledger("old").claim([under(OLD)], "1")
    assert isinstance(claim, HeldElsewhere)
    assert bench.row("onb-1").state == "waiting"
    assert isinstance(granted(new, under(NEW, OLD), "2"), Granted)


def test_a_finished_request_under_an_unknown_key_is_never_announced(bench: Bench) -> None:
    ledger = bench.ledger()
    complete(ledger, granted(ledger, under(OLD)), asked=under(OLD))
    bench.age(61)
    (claim,) = ledger.claim([under(NEW)], "2")
    assert claim == Conflicting(ErrorKind.CONFLICT)


def test_one_that_was_finished_just_now_waits_for_a_worker_that_has_the_key(bench: Bench) -> None:
    """The new worker crashed after its record, and one of the last release gets the message."""
    new = bench.ledger("new")
    complete(new, granted(new, under(NEW, OLD)), asked=under(NEW, OLD))
    (claim,) = bench.ledger("old").claim([under(OLD)], "1")
    assert isinstance(claim, HeldElsewhere)
    (answer,) = new.claim([under(NEW, OLD)], "2")
    assert isinstance(answer, AlreadyDone)


def test_old_new_and_rotated_requests_in_one_batch_are_told_apart(bench: Bench) -> None:
    ledger = bench.ledger()
    for name in ("done", "waiting"):
        claim = granted(ledger, under(OLD, request_id=name), name)
        if name == "done":
            complete(ledger, claim, asked=under(OLD, request_id=name))
        else:
            put_off(ledger, claim)
    batch = [under(NEW, OLD, request_id=name) for name in ("new", "done", "waiting")]
    claims = ledger.claim(batch, "2")
    assert [type(claim) for claim in claims] == [Granted, AlreadyDone, Granted]


def test_with_a_quota_a_request_under_the_former_key_takes_its_call(bench: Bench) -> None:
    ledger = bench.ledger(daily_call_budget=2)
    put_off(ledger, granted(ledger, under(OLD)))
    batch = [under(NEW, OLD), under(NEW, OLD, request_id="onb-2")]
    first, second = ledger.claim(batch, "2")
    assert isinstance(first, Granted)
    assert first.call_number == 2
    assert not isinstance(second, Granted)
    assert bench.calls_today() == 2


def test_a_repeated_claim_finds_its_own_grant_under_the_new_key(bench: Bench) -> None:
    ledger = bench.ledger()
    put_off(ledger, granted(ledger, under(OLD)))
    assert ledger.claim([under(NEW, OLD)], "7") == ledger.claim([under(NEW, OLD)], "7")
    assert len(bench.calls("onb-1")) == 2
