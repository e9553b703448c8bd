"""The pipeline's ends with spans on them: used only where somebody wants spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.pipeline.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.contract.request_v1 import RequestReader
    from worker.core.delivery import Delivery, Settlement
    from worker.core.digests import Digests
    from worker.core.outcome import CallReport
    from worker.core.request import VerificationRequest
    from worker.pipeline.flow import Finished, FlowRules, Task
    from worker.ports import Clock, DeliverySink, Ledger, Verifier
    from worker.telemetry.spans import Spans


class TracedSink:
    """A `DeliverySink` whose messages each have a span, from the delivery to the confirm."""

    def __init__(self, sink: DeliverySink, spans: Spans) -> None:
        self._sink = sink
        self._spans = spans

    def deliver(self, delivery: Delivery) -> None:
        """Begin a span and hand the delivery in."""
        self._sink.deliver(self._spans.begin(delivery))

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Hand these on and end their spans."""
        self._sink.settled(settlements)
        self._spans.end(settlements)


class TracedVerifier:
    """A `Verifier` whose calls each have a span."""

    def __init__(self, verifier: Verifier, spans: Spans) -> None:
        self._verifier = verifier
        self._spans = spans

    def verify(self, request: VerificationRequest) -> CallReport:
        """Make one call (see `ports.Verifier`)."""
        with self._spans.call() as tell:
            report = self._verifier.verify(request)
            tell(report)
            return report


class TracedFlow(Flow):
    """A flow whose calls belong to their message's span."""

    def __init__(
        self,
        spans: Spans,
        reader: RequestReader,
        digests: Digests,
        ledger: Ledger,
        verifier: Verifier,
        clock: Clock,
        rules: FlowRules,
    ) -> None:
        super().__init__(reader, digests, ledger, TracedVerifier(verifier, spans), clock, rules)
        self._spans = spans

    def call(self, task: Task, heard: Callable[[CallReport], bool] | None = None) -> Finished:
        """Call the provider for one task (see `Flow`)."""
        with self._spans.within(task.asked.delivery):
            return super().call(task) if heard is None else super().call(task, heard)
