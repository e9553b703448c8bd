"""A real worker sends its spans to a collector, and works on without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from local_ports import LOOPBACK, free_ports
from tests.e2e.harness import Stack, request, until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{PARENT}-01"


class Collector(ThreadingHTTPServer):
    """Takes spans as OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        super().__init__((LOOPBACK, 0), _Handler)

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in group.resource.attributes}
            self.services.add(named["service.name"])
            self.spans += [span for scope in group.scope_spans for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.take(self.rfile.read(int(self.headers["Content-Length"])))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = Thread(target=collector.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def test_a_workers_spans_reach_the_collector_and_its_event_carries_them_on(stack: Stack) -> None:
    with collecting() as collector:
        endpoint = f"http://{LOOPBACK}:{collector.server_port}"
        worker = stack.start_worker(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        stack.publish(request("traced"), headers={"traceparent": SENT})
        until(lambda: stack.depth("collector") == 1)
        until(lambda: worker.said("message.settled"))
        assert worker.stop() == 0  # what is finished is sent before the end
    assert collector.services == {"verification-worker"}
    message, call = sorted(collector.spans, key=lambda span: str(span.name), reverse=True)
    assert (message.name, call.name) == ("verify", "personalAuth")
    assert message.trace_id.hex() == call.trace_id.hex() == TRACE
    assert message.parent_span_id.hex() == PARENT
    assert call.parent_span_id == message.span_id
    assert message.start_time_unix_nano < call.start_time_unix_nano
    assert call.end_time_unix_nano < message.end_time_unix_nano
    ((_, properties, _),) = stack.take()
    assert properties.headers["traceparent"] == f"00-{TRACE}-{message.span_id.hex()}-01"


def test_a_collector_that_is_away_holds_up_nothing_and_is_a_line_in_the_log(stack: Stack) -> None:
    (nobody,) = free_ports(1)
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOOPBACK}:{nobody}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    worker = stack.start_worker(**settings)
    stack.publish(request("a"))
    until(lambda: stack.count() == 1)
    until(lambda: worker.said("tracing.problem"))
    assert all(line.startswith("{") for line in worker.lines)
    assert worker.stop() == 0
