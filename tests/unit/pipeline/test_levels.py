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
from worker.telemetry.metrics import Metrics
from worker.telemetry.vitals import PipelineLevels

if TYPE_CHECKING:
    from collections.abc import Callable


class House:
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
    house = House(Desk(verifier=verifier))
    house.pipeline.start()
    try:
        house.pipeline.deliver(deliver(b"nothing"))
        for number in range(3):
            house.pipeline.deliver(deliver(request(f"onb-{number}")))
        levels = house.until(lambda levels: levels.calls_under_way == 1 and levels.claimed == 2)
        assert levels == PipelineLevels("closed", None, 1, 1, claimed=2, held=4)
        verifier.gate.set()
        house.broker.wait_for(4)
        house.until(lambda levels: levels.claimed == levels.calls_under_way == 0)
        assert house.pipeline.levels.held == 4
        house.broker.confirm(house.pipeline)
        assert house.pipeline.levels.held == 0
    finally:
        verifier.gate.set()
        house.pipeline.stop(PATIENCE)


def test_what_the_pipeline_does_reaches_its_observer_once_for_a_batch() -> None:
    house = House(Desk())
    house.pipeline.start()
    try:
        house.pipeline.deliver(deliver(request("onb-1")))
        house.broker.wait_for(1)
        house.broker.confirm(house.pipeline)
    finally:
        house.pipeline.stop(PATIENCE)
    text = house.metrics.exposition("text/plain")[1].decode()
    for line in (
        "verification_claim_batch_messages_sum 1.0",
        "verification_record_batch_messages_sum 1.0",
        'verification_calls_total{call_class="answered",charged="yes"} 1.0',
        'verification_messages_settled_total{action="completed",outcome="match"} 1.0',
    ):
        assert line in text


def test_a_thread_that_died_is_named_and_one_that_was_stopped_is_not() -> None:
    house = House(Desk(ValueError("words")))
    assert house.pipeline.dead == []
    house.pipeline.start()
    try:
        assert house.pipeline.dead == []
        house.pipeline.deliver(deliver(request("onb-1")))
        assert house.failed.wait(PATIENCE)
        end = monotonic() + PATIENCE
        while not house.pipeline.dead:
            assert monotonic() < end
            sleep(0.001)
        assert house.pipeline.dead == ["caller-0"]
    finally:
        house.pipeline.stop(PATIENCE)
    assert house.pipeline.dead == []


@pytest.mark.parametrize("name", ["claimer", "recorder", "warden", "foreman"])
def test_every_stage_is_watched(name: str) -> None:
    assert name in {each.name for each in House(Desk()).pipeline._threads}
