"""The flow with spans on its calls: used only where somebody wants spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.pipeline.flow import Flow

if TYPE_CHECKING:
    from worker.core.outcome import CallReport
    from worker.pipeline.work import Task
    from worker.telemetry.spans import Spans


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
