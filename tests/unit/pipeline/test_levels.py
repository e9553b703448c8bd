"""What the pipeline says of itself while it works, and when a thread of it has died."""

from __future__ import annotations

from threading import Event
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from tests.fakes.broker import PATIENCE, FakeBroker
from tests.fakes.messages import deliver, request
from tests.unit.pipeline.desk import Desk
from tests.unit.pipeline.test_runner import HeldVerifier
from worker.core.breaker import BreakerPolicy
from worker.pipeline.runner import Pipeline, PipelineSize
from worker.telemetry.health_state import PipelineLevels
from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable


class Stack:
    """A pipeline with a caller between fakes."""

    def __init__(self, desk: Desk) -> None:
        self.broker, self.failed, self.metrics = FakeBroker(), Event(), Metrics()
        self.pipeline = Pipeline(
            desk.flow,
            self.broker,
            desk.clock,
            PipelineSize(1, batch_limit=4),
            BreakerPolicy(),
            self.failed.set,
            self.metrics,
        )

    def until(self, holds: Callable[[PipelineLevels], bool]) -> PipelineLevels:
        """Return the levels as soon as something holds of them."""
        end = monotonic() + PATIENCE
        while not holds(levels := self.pipeline.levels):
            assert monotonic() < end, levels
            sleep(0.001)
        return levels


def test_levels_follow_a_message_through_the_pipeline() -> None:
    verifier = HeldVerifier()
    stack = Stack(Desk(verifier=verifier))
    stack.pipeline.start()
    try:
        stack.pipeline.deliver(deliver(b"nothing"))
        for number in range(3):
            stack.pipeline.deliver(deliver(request(f"onb-{number}")))
        levels = stack.until(lambda levels: levels.calls_under_way == 1 and levels.claimed == 2)
        assert levels == PipelineLevels("closed", None, 1, 1, claimed=2, held=4)
        verifier.gate.set()
        stack.broker.wait_for(4)
        stack.until(lambda levels: levels.claimed == levels.calls_under_way == 0)
        assert stack.pipeline.levels.held == 4
        stack.broker.confirm(stack.pipeline)
        assert stack.pipeline.levels.held == 0
    finally:
        verifier.gate.set()
        stack.pipeline.stop(PATIENCE)


def test_what_the_pipeline_does_reaches_its_observer_once_for_a_batch() -> None:
    stack = Stack(Desk())
    stack.pipeline.start()
    try:
        stack.pipeline.deliver(deliver(request("onb-1")))
        stack.broker.wait_for(1)
        stack.broker.confirm(stack.pipeline)
    finally:
        stack.pipeline.stop(PATIENCE)
    text = stack.metrics.exposition("text/plain")[1].decode()
    for line in (
        "verification_claim_batch_messages_sum 1.0",
        "verification_record_batch_messages_sum 1.0",
        'verification_calls_total{call_class="answered",charged="yes"} 1.0',
        'verification_messages_settled_total{action="completed",outcome="match"} 1.0',
    ):
        assert line in text


def test_a_thread_that_died_is_named_and_one_that_was_stopped_is_not() -> None:
    stack = Stack(Desk(ValueError("words")))
    assert stack.pipeline.dead == []
    stack.pipeline.start()
    try:
        assert stack.pipeline.dead == []
        stack.pipeline.deliver(deliver(request("onb-1")))
        assert stack.failed.wait(PATIENCE)
        end = monotonic() + PATIENCE
        while not stack.pipeline.dead:
            assert monotonic() < end
            sleep(0.001)
        assert stack.pipeline.dead == ["caller-0"]
    finally:
        stack.pipeline.stop(PATIENCE)
    assert stack.pipeline.dead == []


@pytest.mark.parametrize("name", ["claimer", "recorder", "warden", "foreman"])
def test_every_stage_is_watched(name: str) -> None:
    assert name in {each.name for each in Stack(Desk()).pipeline._threads}
