"""An outage costs nothing: the worker parks, hands back, probes and resumes by itself."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from tests.fakes.broker import PATIENCE, FakeBroker
from tests.fakes.messages import deliver, request
from tests.fakes.verifier import FakeVerifier, fault
from tests.unit.pipeline.desk import Desk
from worker.core.breaker import BreakerPolicy, ParkReason
from worker.core.outcome import CallClass, Charged
from worker.pipeline.runner import Pipeline, PipelineSize
from worker.telemetry.clock import SystemClock
from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.core.outcome import CallReport
    from worker.core.request import VerificationRequest

CREDENTIALS = fault(CallClass.CREDENTIALS)
UNAVAILABLE = fault(CallClass.UNAVAILABLE, Charged.UNKNOWN)
RETRY_5S, RETRY_30S = "verification.retry.5s", "verification.retry.30s"
PAUSE, ONE, ALL = 0, 1, None


class Patient(FakeVerifier):
    """A provider that answers when it is told to."""

    def __init__(self, *script: CallReport | Exception) -> None:
        super().__init__(*script)
        self.answers = Event()

    def verify(self, request: VerificationRequest) -> CallReport:
        """Answer as the script says."""
        assert self.answers.wait(PATIENCE)
        return super().verify(request)


@contextmanager
def running(desk: Desk, broker: FakeBroker, wait: float, callers: int = 1) -> Iterator[Pipeline]:
    failed = Event()
    policy = BreakerPolicy(failures=3, first_wait=wait)
    size = PipelineSize(callers, batch_limit=4)
    pipeline = Pipeline(desk.flow, broker, SystemClock(), size, policy, failed.set, Metrics())
    pipeline.start()
    try:
        yield pipeline
    finally:
        pipeline.stop(SystemClock().monotonic() + PATIENCE)
    assert not failed.is_set()


def is_parked(pipeline: Pipeline) -> bool:
    """Ask the pipeline anew, each time."""
    return pipeline.parked is not None


def where_to(broker: FakeBroker) -> dict[str, str]:
    """Return each message's next place by its id."""
    return {
        str(each.delivery.message_id): each.publications[0].routing_key for each in broker.settled
    }


def give(pipeline: Pipeline, *ids: str) -> None:
    for each in ids:
        pipeline.deliver(deliver(request(each), message_id=each))


def test_wrong_credentials_park_at_once_and_burn_no_message() -> None:
    broker, provider = FakeBroker(), Patient(CREDENTIALS)
    desk = Desk(verifier=provider)
    with running(desk, broker, wait=60.0) as pipeline:
        give(pipeline, "called", "claimed", "held-1", "held-2", "held-3")
        desk.ledger.wait_until(lambda: len(desk.book.rows) == 2)
        provider.answers.set()
        broker.wait_for(5)
        broker.wait_until_wanted(PAUSE)
        assert pipeline.parked is ParkReason.CREDENTIALS
        give(pipeline, "late")
        broker.wait_for(6)
    assert len(provider.asked) == 1
    places = where_to(broker)
    # What was not even claimed comes back when the worker probes: after 48 to 72 s.
    assert places == {
        "called": RETRY_30S,
        "claimed": RETRY_5S,
        **dict.fromkeys(("held-1", "held-2", "held-3", "late"), RETRY_30S),
    }
    # Only the one that told it: while others are served it may be that request alone.
    assert [row.attempts for row in desk.book.rows.values()] == [1, 0]
    assert {row.state for row in desk.book.rows.values()} == {"waiting"}


def test_a_probe_that_succeeds_resumes_and_one_that_fails_waits_again() -> None:
    broker = FakeBroker()
    desk = Desk(CREDENTIALS, CREDENTIALS)
    with running(desk, broker, wait=0.02) as pipeline:
        give(pipeline, "first")
        broker.wait_until_wanted(PAUSE, ONE)
        give(pipeline, "second")
        broker.wait_until_wanted(PAUSE, ONE, PAUSE, ONE)
        assert is_parked(pipeline)
        give(pipeline, "third")
        broker.wait_until_wanted(PAUSE, ONE, PAUSE, ONE, ALL)
        assert not is_parked(pipeline)
        broker.wait_for(3)
    assert desk.row("third").result is not None
    assert [desk.row(each).attempts for each in ("first", "second")] == [1, 0]


def test_after_an_outage_few_are_claimed_at_first() -> None:
    broker, provider = FakeBroker(), Patient(CREDENTIALS)
    desk = Desk(verifier=provider)
    with running(desk, broker, wait=0.02, callers=4) as pipeline:
        provider.answers.set()
        give(pipeline, "refused")
        broker.wait_until_wanted(PAUSE, ONE)
        give(pipeline, "probe")
        broker.wait_until_wanted(PAUSE, ONE, ALL)
        broker.wait_for(2)
        provider.answers.clear()
        give(pipeline, *[f"after-{number}" for number in range(8)])
        # One success: two calls at once, and a claimed request that waits for each.
        desk.ledger.wait_until(lambda: len(desk.book.rows) == 2 + 4)
        with desk.book.changed:
            assert not desk.book.changed.wait_for(lambda: len(desk.book.rows) > 2 + 4, 0.2)
        provider.answers.set()
        broker.wait_for(10)


def test_failures_in_a_row_park_and_from_then_on_count_for_nobody() -> None:
    broker = FakeBroker()
    desk = Desk(*[UNAVAILABLE] * 4)
    with running(desk, broker, wait=0.02) as pipeline:
        give(pipeline, "one", "two", "three")
        broker.wait_until_wanted(PAUSE, ONE)
        broker.wait_for(3)
        give(pipeline, "probe")
        broker.wait_until_wanted(PAUSE, ONE, PAUSE, ONE)
    assert [desk.row(each).attempts for each in ("one", "two", "three", "probe")] == [1, 1, 0, 0]


def test_an_outage_uses_up_nobodys_attempts() -> None:
    """The last attempt of a request falls into an outage: it is neither failed nor dead."""
    desk = Desk(UNAVAILABLE)
    desk.work_one(deliver())
    desk.row().attempts = 2
    (task,) = Desk(UNAVAILABLE, beside=desk).admit(deliver()).tasks
    finished = Desk(UNAVAILABLE, beside=desk).flow.call(task, lambda _report: True)
    (settlement,) = desk.flow.record([finished], ())
    assert settlement.line["action"] == "retrying"
    assert settlement.publications[0].routing_key == RETRY_30S
    assert desk.row().attempts == 2
