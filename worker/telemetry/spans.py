"""Spans of OpenTelemetry: one for each message, and one for its call. Needs the extra `otel`.

    publisher's span ── verify (delivery to confirmed event) ── personalAuth (the call)
                              └── whoever consumes the event, and our own next attempt

The span's id replaces the sender's `traceparent` in the delivery, so that everything the message
causes (its row, event, retry, dead letter) carries it on. Attributes are ids and codes of the log
line: nothing of a person.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import structlog
from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.core.delivery import Delivery, Settlement
from worker.core.outcome import CallReport
from worker.core.request import Lane
from worker.ports import DeliverySink
from worker.telemetry.logs import LogEvent

# The last batch takes milliseconds; a collector that is away must not hold up the end.
_FLUSH_SECONDS = 3.0
_SERVICE = "verification-worker"
_MESSAGING = {
    "messaging.system": "rabbitmq",
    "messaging.destination.name": "verification.requests",
    "messaging.operation.type": "process",
}
# What of a log line goes along.
_FACTS = ("action", "request_id", "outcome", "reason", "delay", "check_type", "calls")


class Spans:
    """The spans of the messages that a worker holds: a `DeliverySink` in front of another one."""

    def __init__(self, provider: TracerProvider) -> None:
        self.sink: DeliverySink
        """Known before anything is delivered."""
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)
        self._propagator = TraceContextTextMapPropagator()
        self._held: dict[tuple[Lane, int, int], Span] = {}
        """By epoch and tag; the broker's prefetch bounds them."""

    # The broker's thread.

    def deliver(self, delivery: Delivery) -> None:
        """Hand in a message with a span of its own, from here to the confirm."""
        self.sink.deliver(self._begun(delivery))

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Hand these on and end their spans."""
        self.sink.settled(settlements)
        for settlement in settlements:
            delivery = settlement.delivery
            span = self._held.pop((delivery.lane, delivery.epoch, delivery.tag), None)
            if span is None:
                continue
            line = settlement.line or {"action": "handed_back"}
            for fact in _FACTS:
                if fact in line:
                    span.set_attribute(f"verification.{fact}", _plain(line[fact]))
            span.end()

    def returned(self, epoch: int, lane: Lane) -> None:
        """Hand this on and end the spans of what comes again."""
        self.sink.returned(epoch, lane)
        for key in [each for each in self._held if each[0] is lane and each[1] <= epoch]:
            span = self._held.pop(key)
            span.set_attribute("verification.action", "returned")
            span.end()

    def _begun(self, delivery: Delivery) -> Delivery:
        """Begin a message's span and return the message with it in place of its sender's."""
        span = self._tracer.start_span(
            "verify", self._sent_by(delivery), SpanKind.CONSUMER, _MESSAGING
        )
        self._held[delivery.lane, delivery.epoch, delivery.tag] = span
        about = span.get_span_context()
        if not about.is_valid:
            return delivery
        flags = int(about.trace_flags)
        traceparent = f"00-{about.trace_id:032x}-{about.span_id:016x}-{flags:02x}"
        return replace(delivery, traceparent=traceparent)

    # The callers.

    @contextmanager
    def call(self, delivery: Delivery) -> Iterator[Callable[[CallReport], None]]:
        """Make a span for one call of this message; give its report to what this yields."""
        # An error's words may quote the person: neither an event nor the status has them.
        with self._tracer.start_as_current_span(
            "personalAuth",
            self._sent_by(delivery),
            SpanKind.CLIENT,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def describe(report: CallReport) -> None:
                span.set_attribute("verification.call_class", report.call_class.value)
                span.set_attribute("verification.charged", report.charged.value)
                span.set_attribute("verification.sends", report.sends)
                if report.http_status is not None:
                    span.set_attribute("http.response.status_code", report.http_status)
                if report.verdict is None:
                    span.set_status(Status(StatusCode.ERROR, report.call_class.value))

            yield describe

    # The main thread.

    def close(self) -> None:
        """Send what is finished, for a few seconds at most."""
        flush = Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        flush.join(_FLUSH_SECONDS)

    def _sent_by(self, delivery: Delivery) -> context.Context:
        carrier = {} if delivery.traceparent is None else {"traceparent": delivery.traceparent}
        return self._propagator.extract(carrier, context.Context())


def exporting(environment: Mapping[str, str], worker: str) -> TracerProvider:
    """Return a provider that sends spans where OTEL_EXPORTER_OTLP_ENDPOINT says."""
    about = {"service.instance.id": worker}
    named = environment.get("OTEL_SERVICE_NAME", "")
    if not named and "service.name=" not in environment.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        about["service.name"] = _SERVICE
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logging.getLogger("opentelemetry").addHandler(_ToOurLog())
    return provider


class _ToOurLog(logging.Handler):
    """Has the library's warnings in our log, as lines like the others, without what they quote."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one warning."""
        structlog.get_logger().warning(
            LogEvent.TRACING_PROBLEM, library=record.name, problem=str(record.msg)
        )


def _plain(value: object) -> str | int:
    return int(value) if isinstance(value, int) else str(value)
