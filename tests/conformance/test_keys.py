"""While DIGEST_KEY is rotated rows stand under two keys, and workers know both, or one of them."""

import pytest

from tests.conformance.bench import Bench, claimed, granted, put_off
from tests.fakes.messages import ask
from tests.integration.store.upkeep import finish
from worker.core.claims import AlreadyDone, Claim, ClaimRequest, Conflicting, Granted, HeldElsewhere
from worker.core.digests import Digest
from worker.core.outcome import ErrorKind

OLD = Digest("k1", b"\x01" * 32, b"\x02" * 32)
NEW = Digest("k2", b"\x03" * 32, b"\x04" * 32)
SAME_KEY = Digest("k1", b"\x05" * 32, None)
OTHER_DATA = Digest("k1", b"\x09" * 32, None)


def under(*digests: Digest, request_id: str = "onb-1") -> ClaimRequest:
    """Return what a worker asks that has these keys, the first of them the current one."""
    return ask(request_id, digests=digests)


def bring(bench: Bench, state: str, *keys: Digest, request_id: str = "onb-1") -> None:
    """Let a worker with these keys bring a request to a state."""
    ledger, asked = bench.ledger(), under(*keys, request_id=request_id)
    match state:
        case "done" | "done long ago":
            finish(ledger, asked)
            bench.age(61 if state == "done long ago" else 0)
        case "waiting":
            put_off(ledger, granted(ledger, asked))
        case "held" | "lapsed":
            granted(ledger, asked)
            bench.age(60 if state == "lapsed" else 0)


@pytest.mark.parametrize(
    ("state", "keys", "kind", "stands_under"),
    [
        ("done", (NEW, OLD), AlreadyDone, "k1"),  # nothing of a finished row changes
        ("waiting", (NEW, OLD), Granted, "k2"),
        ("lapsed", (NEW, OLD), Granted, "k2"),
        ("held", (NEW, OLD), HeldElsewhere, "k1"),
        ("done", (NEW, OTHER_DATA), Conflicting, "k1"),
        # a refused request is known by its data or by its bytes
        ("done", (SAME_KEY, OLD), AlreadyDone, "k1"),
        ("waiting", (SAME_KEY, OLD), Granted, "k1"),
        ("waiting", (NEW, OTHER_DATA), Conflicting, "k1"),
        # Who has not the key: whoever has it may get the message next.
        ("waiting", (NEW,), HeldElsewhere, "k1"),
        ("done", (NEW,), HeldElsewhere, "k1"),
        ("done long ago", (NEW,), Conflicting, "k1"),  # and is never announced
    ],
)
def test_a_request_under_the_former_key(
    bench: Bench, state: str, keys: tuple[Digest, ...], kind: type[Claim], stands_under: str
) -> None:
    bring(bench, state, OLD)
    claim = claimed(bench.ledger("two"), under(*keys))
    assert isinstance(claim, kind)
    assert bench.request()["digest_key"] == stands_under
    # A refused request has no subject; the person is found by the one that the row has.
    assert bench.request()["subject_digest"] in (OLD.subject, NEW.subject)
    if isinstance(claim, Conflicting):
        assert claim.kind is ErrorKind.CONFLICT
    if isinstance(claim, Granted):
        doubts = int(state == "lapsed")
        assert (claim.call_number, claim.grant, claim.in_doubt_calls) == (2, 2, doubts)


@pytest.mark.parametrize(("state", "kind"), [("waiting", Granted), ("done", AlreadyDone)])
def test_what_a_new_worker_has_begun_waits_for_one_that_has_the_key(
    bench: Bench, state: str, kind: type[Claim]
) -> None:
    """The new worker crashed after its record, and one of the last release gets the message."""
    bring(bench, state, NEW, OLD)
    assert isinstance(claimed(bench.ledger("old"), under(OLD)), HeldElsewhere)
    assert bench.row().state == state
    assert isinstance(claimed(bench.ledger("new"), under(NEW, OLD)), kind)


def test_a_request_that_came_under_the_new_key_is_known_by_it_alone(bench: Bench) -> None:
    bring(bench, "waiting", OLD)
    bring(bench, "done", NEW, OLD)
    assert isinstance(claimed(bench.ledger(), under(NEW)), AlreadyDone)


def test_old_new_and_rotated_requests_in_one_batch_are_told_apart(bench: Bench) -> None:
    for state in ("done", "waiting"):
        bring(bench, state, OLD, request_id=state)
    batch = [under(NEW, OLD, request_id=name) for name in ("new", "done", "waiting")]
    claims = bench.ledger().claim(batch, "2")
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
    bring(bench, "waiting", OLD)
    ledger = bench.ledger()
    assert ledger.claim([under(NEW, OLD)], "7") == ledger.claim([under(NEW, OLD)], "7")
    assert len(bench.calls("onb-1")) == 2
