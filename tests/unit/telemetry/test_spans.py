"""Spans: who is whose parent, what they say, and that nobody pays for them unasked."""

import json
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.typing import EventDict

from tests.fakes.messages import ID_CARD, NAME, deliver, request
from tests.fakes.verifier import fault
from tests.unit.pipeline.desk import Desk
from tests.unit.pipeline.stack import Stack
from worker.core.delivery import Delivery, Settlement
from worker.core.outcome import CallClass, CallReport
from worker.core.request import Lane
from worker.pipeline.traced import TracedFlow
from worker.telemetry import tracing
from worker.telemetry.spans import Spans

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{PARENT}-01"


class Traced(Stack):
    """A pipeline between fakes whose spans are kept in memory."""

    def __init__(self, *script: CallReport) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        spans, desk = Spans(provider), Desk(*script)
        super().__init__(desk, callers=1, flow=TracedFlow(spans, *desk.parts))
        self.sink, spans.sink = spans, self.pipeline

    def work(self, *deliveries: Delivery) -> list[Settlement]:
        for delivery in deliveries:
            self.sink.deliver(delivery)
        self.broker.wait_for(len(deliveries))
        self.broker.confirm(self.sink)
        return self.broker.settled

    def spans(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.exporter.get_finished_spans() if each.name == name]


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Return a span's trace, its own id and its parent's, in hexadecimal."""
    about, parent = span.get_span_context(), span.parent
    assert about is not None
    above = None if parent is None else f"{parent.span_id:016x}"
    return f"{about.trace_id:032x}", f"{about.span_id:016x}", above


def test_a_message_is_a_span_below_its_senders_and_its_call_one_below_that() -> None:
    with Traced() as one:
        (settlement,) = one.work(deliver(request("a"), traceparent=SENT))
    (message,), (call,) = one.spans("verify"), one.spans("personalAuth")
    assert ids(message)[::2] == (TRACE, PARENT)
    assert ids(call)[::2] == (TRACE, ids(message)[1])
    (event,) = settlement.publications
    assert event.headers["traceparent"] == f"00-{TRACE}-{ids(message)[1]}-01"
    assert told(message) == {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": "verification.requests",
        "messaging.operation.type": "process",
        "verification.action": "completed",
        "verification.request_id": "a",
        "verification.outcome": "match",
        "verification.check_type": 2,
        "verification.calls": 1,
    }
    assert told(call) == {
        "verification.call_class": "answered",
        "verification.charged": "yes",
        "verification.sends": 1,
        "http.response.status_code": 200,
    }
    assert call.status.status_code is not StatusCode.ERROR


def test_a_message_without_a_senders_span_begins_a_trace() -> None:
    with Traced() as one:
        (settlement,) = one.work(deliver(request("a"), traceparent="00-rubbish"))
    (message,) = one.spans("verify")
    trace, span, parent = ids(message)
    assert parent is None
    carried = str(settlement.publications[0].headers["traceparent"])
    assert carried[:-2] == f"00-{trace}-{span}-"
    assert int(carried[-2:], 16) & 1, "it is sampled"


def test_a_sender_that_samples_nothing_is_followed() -> None:
    with Traced() as one:
        (settlement,) = one.work(deliver(request("a"), traceparent=f"00-{TRACE}-{PARENT}-00"))
    assert one.exporter.get_finished_spans() == ()
    carried = str(settlement.publications[0].headers["traceparent"])
    assert carried.startswith(f"00-{TRACE}-")
    assert carried.endswith("-00")


def test_the_next_attempt_is_a_span_below_the_one_before() -> None:
    with Traced(fault(CallClass.UNAVAILABLE)) as one:
        (settlement,) = one.work(deliver(request("a"), traceparent=SENT))
    (message,), (call,) = one.spans("verify"), one.spans("personalAuth")
    retry = settlement.publications[0]
    assert retry.headers["traceparent"] == f"00-{TRACE}-{ids(message)[1]}-01"
    assert told(message)["verification.reason"] == "unavailable"
    assert call.status.status_code is StatusCode.ERROR
    assert call.status.description == "unavailable"


def test_each_of_many_messages_has_its_own_span_and_none_is_kept() -> None:
    with Traced() as one:
        one.work(*(deliver(request(f"onb-{number}"), traceparent=SENT) for number in range(20)))
    calls = {ids(call)[2] for call in one.spans("personalAuth")}
    assert calls == {ids(message)[1] for message in one.spans("verify")}
    assert len(calls) == 20
    assert one.sink._held == {}


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_there_are_no_spans(environment: dict[str, str]) -> None:
    assert tracing.spans(environment, "one") is None


def test_without_the_extra_it_is_said_once_what_to_install(
    monkeypatch: pytest.MonkeyPatch, log: list[EventDict]
) -> None:
    monkeypatch.delitem(sys.modules, "worker.telemetry.spans", raising=False)
    for name in [each for each in sys.modules if each.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert tracing.spans(ENDPOINT, "one") is None
    (line,) = log
    assert line["event"] == "tracing.off"
    assert "verification-worker[otel]" in line["advice"]


def test_the_service_has_our_name_unless_it_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.telemetry.spans import exporting

    for name, expected in ((None, "verification-worker"), ("other", "other")):
        environment = {**ENDPOINT, **({} if name is None else {"OTEL_SERVICE_NAME": name})}
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        provider = exporting(environment, "worker-7")
        about = provider.resource.attributes
        assert (about["service.name"], about["service.instance.id"]) == (expected, "worker-7")
        provider.shutdown()


def test_the_words_of_an_error_are_in_no_span() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.raises(ValueError, match=NAME), Spans(provider).call(deliver()):
        raise ValueError(f"{NAME} {ID_CARD}")
    (call,) = exporter.get_finished_spans()
    shown = json.dumps(json.loads(call.to_json()), ensure_ascii=False)
    assert not [each for each in (NAME, ID_CARD) if each in shown]
    assert call.status.description is None
    assert call.events == ()


def test_the_span_of_a_message_that_comes_again_ends() -> None:
    traced = Traced()
    traced.sink.deliver(deliver(epoch=1))
    traced.sink.deliver(deliver(epoch=2))
    traced.sink.returned(1, Lane.LIVE)
    (span,) = traced.exporter.get_finished_spans()
    assert (span.attributes or {})["verification.action"] == "returned"
    assert len(traced.sink._held) == 1
