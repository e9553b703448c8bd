"""The pipeline's ends with spans on them: used only where somebody wants spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.pipeline.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.core.delivery import Delivery, Settlement
    from worker.core.outcome import CallReport
    from worker.core.request import Lane
    from worker.pipeline.work import Task
    from worker.ports import DeliverySink
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

    def returned(self, epoch: int, lane: Lane) -> None:
        """Hand this on and end the spans of what comes again."""
        self._sink.returned(epoch, lane)
        self._spans.end_returned(epoch, lane)


class TracedFlow(Flow):
    """A flow whose calls each have a span, below their message's."""

    def __init__(self, spans: Spans, *parts: Any) -> None:
        super().__init__(*parts)
        self._spans = spans

    def _verify(self, task: Task) -> CallReport:
        with self._spans.call(task.asked.delivery) as describe:
            report = super()._verify(task)
            describe(report)
            return report
