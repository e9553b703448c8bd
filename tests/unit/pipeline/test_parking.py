"""An outage or a person's pause costs nothing: park, hand back, and go on by itself."""

from collections.abc import Callable, Sequence
from threading import Event

import pytest

from tests.fakes.broker import PATIENCE
from tests.fakes.clock import START
from tests.fakes.messages import deliver, request
from tests.fakes.verifier import fault
from tests.unit.pipeline.desk import Desk
from tests.unit.pipeline.stack import Stack, calling
from worker.core.breaker import ParkReason
from worker.core.claims import Claim, ClaimRequest
from worker.core.operations import Pause
from worker.core.outcome import CallClass
from worker.pipeline import database_retry
from worker.pipeline.gate import AWAY_AFTER, Gate
from worker.ports import LedgerUnavailable

CREDENTIALS = fault(CallClass.CREDENTIALS)
RETRY_5S, RETRY_30S = "verification.retry.5s", "verification.retry.30s"
STOP, ONE, ALL = 0, 1, None
PAUSE = Pause("maintenance of the provider", "ops@desk", START)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_retry, "RETRY_PAUSE", 0.01)


def parked(stack: Stack) -> ParkReason | None:
    """Ask the gate anew, each time."""
    return stack.gate.parked


def attempts(desk: Desk, *ids: str) -> list[int]:
    return [desk.row(each).attempts for each in ids]


def test_wrong_credentials_park_at_once_and_burn_no_message() -> None:
    held = ("held-1", "held-2", "held-3")
    with calling("called", "claimed", *held, script=[CREDENTIALS]) as stack:
        stack.provider.answers.set()
        stack.broker.wait_for(5)
        stack.broker.wait_until_wanted(STOP)
        assert parked(stack) is ParkReason.CREDENTIALS
        stack.give("late")
        stack.broker.wait_for(6)
    assert len(stack.provider.asked) == 1
    # What was not even claimed comes back when the worker probes, after 60 s.
    late = dict.fromkeys((*held, "late"), RETRY_30S)
    assert stack.where_to() == {"called": RETRY_30S, "claimed": RETRY_5S, **late}
    # Only the one that told it: while others are served it may be that request alone.
    assert attempts(stack.desk, "called", "claimed") == [1, 0]
    assert {row.state for row in stack.desk.rows.values()} == {"waiting"}


def test_a_probe_that_succeeds_resumes_and_one_that_fails_waits_again() -> None:
    desk = Desk(CREDENTIALS, CREDENTIALS)
    with Stack(desk, callers=1, wait=5.0) as stack:
        stack.give("first")
        stack.broker.wait_until_wanted(STOP)
        stack.advance(5.0)
        stack.broker.wait_until_wanted(STOP, ONE)
        stack.give("second")
        stack.broker.wait_until_wanted(STOP, ONE, STOP)
        stack.advance(10.0)
        stack.broker.wait_until_wanted(STOP, ONE, STOP, ONE)
        assert parked(stack) is ParkReason.CREDENTIALS
        stack.give("third")
        stack.broker.wait_until_wanted(STOP, ONE, STOP, ONE, ALL)
        assert parked(stack) is None
        stack.broker.wait_for(3)
    assert desk.row("third").result is not None
    assert attempts(desk, "first", "second") == [1, 0]


def test_after_an_outage_few_are_claimed_at_first() -> None:
    with Stack(Desk(CREDENTIALS), callers=4) as stack:
        stack.give("refused")
        stack.broker.wait_until_wanted(STOP)
        stack.advance(60.0)
        stack.broker.wait_until_wanted(STOP, ONE)
        stack.give("probe")
        stack.broker.wait_until_wanted(STOP, ONE, ALL)
        stack.broker.wait_for(2)
        stack.provider.answers.clear()
        stack.give(*[f"after-{number}" for number in range(8)])
        # One success: two calls at once, and a claimed request that waits for each.
        assert stack.pipeline._credits._total == 4
        stack.wait_for_rows(2 + 4)
        stack.provider.answers.set()
        stack.broker.wait_for(10)


# A pause that a person has ordered.


def test_a_paused_worker_finishes_its_call_and_hands_back_the_rest_uncounted() -> None:
    with calling("called", "claimed", "held-1", "held-2") as stack:
        desk, provider = stack.desk, stack.provider
        stack.gate.set_pause(PAUSE, 0.0)
        stack.broker.wait_until_wanted(STOP)
        assert stack.gate.view.state is PAUSE
        provider.answers.set()
        stack.broker.wait_for(4)
        assert len(provider.asked) == 1
        assert desk.row("called").result is not None
        left = desk.row("claimed")
        assert (left.state, left.attempts, left.in_doubt_calls, left.calls) == ("waiting", 0, 0, [])
        places = stack.where_to()
        assert [places[each] for each in ("claimed", "held-1", "held-2")] == [RETRY_5S] * 3
        stack.give("late")
        stack.broker.wait_for(5)
        stack.gate.set_pause(None, 0.0)
        stack.broker.wait_until_wanted(STOP, ALL)
        stack.give("claimed", "held-1", "held-2", "late")
        stack.broker.wait_for(9)
    assert {row.result is not None for row in desk.rows.values()} == {True}
    assert len(provider.asked) == 5


@pytest.mark.parametrize(
    "interrupt",
    [
        pytest.param(lambda stack: stack.gate.set_pause(PAUSE, 0.0), id="a pause"),
        pytest.param(lambda stack: stack.pipeline.returned(1), id="queued again"),
    ],
)
def test_a_claim_whose_answer_was_lost_is_let_go_when_it_is_interrupted_before_the_next_try(
    interrupt: Callable[[Stack], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handed back as if it were not claimed, its intent would count as a call in doubt."""
    desk = Desk()
    desk.ledger.lose_answers = 1
    claim = desk.ledger.claim
    with Stack(desk, callers=1) as stack:

        def claim_and_interrupt(batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
            try:
                return claim(batch, token)
            except LedgerUnavailable:
                interrupt(stack)
                raise

        monkeypatch.setattr(desk.ledger, "claim", claim_and_interrupt)
        stack.give("claimed")
        stack.broker.wait_for(1)
    row = desk.row("claimed")
    assert (row.state, row.in_doubt_calls, row.calls) == ("waiting", 0, [])
    assert desk.provider.asked == []


def test_nothing_is_claimed_before_it_is_known_whether_there_is_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when the database is back: a pause may have been ordered before anybody looked."""
    asked, known = Event(), vars(Gate)["pause_is_known"].fget

    def ask(gate: Gate) -> bool:
        answer: bool = known(gate)
        asked.set()
        return answer

    monkeypatch.setattr(Gate, "pause_is_known", property(ask))
    with Stack(callers=1) as stack:
        stack.gate.expect_pause_reports()
        stack.give("first")
        assert asked.wait(PATIENCE)
        assert stack.desk.rows == {}
        assert not stack.database_answers()
        stack.gate.set_pause(None, 0.0)
        stack.broker.wait_for(1)
    assert stack.desk.row("first").result is not None


# A database that is away.


def test_no_message_is_taken_before_the_database_has_answered_or_while_looks_at_it_fail() -> None:
    stack = Stack()
    stack.gate.expect_pause_reports()
    with stack:
        assert stack.broker.wanted == [STOP]  # told before the broker's thread begins
        assert parked(stack) is ParkReason.DATABASE
        stack.gate.set_pause(None, 0.0)
        stack.broker.wait_until_wanted(STOP, ALL)
        stack.advance(AWAY_AFTER - 0.1)
        assert parked(stack) is None
        stack.advance(0.1)
        stack.broker.wait_until_wanted(STOP, ALL, STOP)
        assert parked(stack) is ParkReason.DATABASE
        stack.gate.set_pause(None, stack.desk.clock.monotonic())
        stack.broker.wait_until_wanted(STOP, ALL, STOP, ALL)


def test_a_worker_whose_claims_fail_parks_though_it_can_read() -> None:
    with Stack() as stack:
        stack.lose_database()
        stack.give("held")
        stack.wait_for_tries(2)  # since when it is away is known
        stack.advance(AWAY_AFTER)
        stack.broker.wait_until_wanted(STOP)
        assert parked(stack) is ParkReason.DATABASE
        stack.restore_database()
        stack.broker.wait_for(1)
        stack.broker.wait_until_wanted(STOP, ALL)


def test_what_the_broker_has_queued_again_is_forgotten_unless_it_is_claimed() -> None:
    with calling("called", "claimed", "waits-1", "waits-2") as stack:
        stack.pipeline.returned(1)
        assert stack.pipeline.held == 0
        again = [
            deliver(request(each), message_id=each, epoch=2) for each in ("claimed", "waits-1")
        ]
        stack.provider.answers.set()
        stack.broker.wait_for(2)
        for each in again:
            stack.pipeline.deliver(each)
        settled = stack.broker.wait_for(4)
    # What was paid is announced, what was claimed is let go: it comes again, and is called once.
    assert [(each.line["action"], each.delivery.epoch) for each in settled] == [
        ("completed", 1),
        ("retrying", 1),
        ("completed", 2),
        ("completed", 2),
    ]
    assert len(stack.provider.asked) == 3
    assert stack.pipeline.held == 2


def test_a_batch_that_was_not_tried_is_forgotten_when_it_was_queued_again() -> None:
    with Stack() as stack:
        stack.gate.expect_pause_reports()
        stack.give("first")
        while stack.pipeline._database.database_answers:
            pass
        stack.pipeline.returned(1)
        stack.gate.set_pause(None, stack.desk.clock.monotonic())
        stack.pipeline.deliver(deliver(request("second"), epoch=2))
        stack.broker.wait_for(1)
    assert stack.desk.rows.keys() == {"second"}
