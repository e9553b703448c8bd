"""One worker's flow on a desk: fakes around it, and its batches worked through by hand."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from tests.fakes.clock import START, FakeClock
from tests.fakes.verifier import FakeVerifier
from tests.unit.pipeline.desk_ledger import DeskLedger, Row
from worker.contract.encryption import MessageKeys
from worker.contract.names import RESULTS
from worker.contract.request_v1 import RequestReader
from worker.core.checks import CheckPolicy
from worker.core.delivery import Delivery, Publication, Settlement
from worker.core.digests import Digests
from worker.core.outcome import CallReport
from worker.core.request import Mode
from worker.core.retry import RetryPolicy
from worker.pipeline.flow import Flow, FlowRules
from worker.pipeline.work import Admission, Finished, Task

START_WITHIN = 28.0
LEASE = 60.0
PUNCTUAL_WITHIN = 1.0


class Desk:
    """A flow whose steps a test takes itself; desks that share a `beside` are one system."""

    def __init__(
        self,
        *script: CallReport | Exception,
        beside: Desk | None = None,
        worker: str = "one",
        max_in_doubt_calls: int = 1,
        keys: MessageKeys | None = None,
        required: bool = False,
        punctual_within: float | None = None,
        policy: CheckPolicy | None = None,
    ) -> None:
        self.clock: FakeClock = FakeClock() if beside is None else beside.clock
        self.rows: dict[str, Row] = {} if beside is None else beside.rows
        self.ledger = DeskLedger(self.clock, worker, max_in_doubt_calls, self.rows)
        self.provider = FakeVerifier(*script)
        reader = RequestReader(policy or CheckPolicy(), 100_000, keys, required)
        retries = RetryPolicy((5, 30), max_in_doubt_calls)
        self.parts = (
            reader,
            Digests(b"k" * 32),
            self.ledger,
            self.provider,
            self.clock,
            FlowRules(Mode.SANDBOX, retries, START_WITHIN, punctual_within),
        )
        self.flow = Flow(*self.parts)
        self._batches = 0

    def admit(self, *deliveries: Delivery) -> Admission:
        self._batches += 1
        return self.flow.admit(deliveries, str(self._batches))

    def call(self, task: Task, *, outage: bool = False) -> Finished:
        return self.flow.decide(task, self.flow.call(task), outage=outage)

    def finish(self, admission: Admission) -> list[Settlement]:
        called = [self.call(task) for task in admission.tasks]
        recorded = self.flow.record([*admission.finished, *called], ())
        return admission.settlements + recorded

    def work(self, *deliveries: Delivery) -> list[Settlement]:
        return self.finish(self.admit(*deliveries))

    def work_one(self, delivery: Delivery) -> Settlement:
        (settlement,) = self.work(delivery)
        assert settlement.delivery is delivery
        return settlement

    def row(self, request_id: str = "onb-1") -> Row:
        return self.rows[request_id]


def after(seconds: float) -> str:
    """Return the time so long after the start, as a request's `expiresAt` says it."""
    return (START + timedelta(seconds=seconds)).isoformat()


def body(event: Publication) -> dict[str, Any]:
    assert event.exchange == RESULTS
    said: dict[str, Any] = json.loads(event.body)
    return said


def targets(settlement: Settlement) -> list[tuple[str, str]]:
    return [(each.exchange, each.routing_key) for each in settlement.publications]


def by_id(settlements: list[Settlement]) -> dict[object, Settlement]:
    return {each.line.get("request_id"): each for each in settlements}
