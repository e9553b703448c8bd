"""Whether there are spans: only where OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra installed.

Everything about them is set by OpenTelemetry's own variables (OTEL_SERVICE_NAME and the like).
Without them nothing of it is imported, and a message costs nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from worker.telemetry.logs import LogEvent

if TYPE_CHECKING:
    from worker.telemetry.spans import Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def spans(environment: Mapping[str, str], worker: str) -> Spans | None:
    """Return what makes the spans of this worker; None where nobody wants any."""
    if not any(environment.get(name) for name in _ENDPOINTS):
        return None
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    log = structlog.get_logger()
    try:
        from worker.telemetry.spans import Spans, exporting
    except ModuleNotFoundError as missing:
        advice = "install verification-worker[otel], or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        log.warning(LogEvent.TRACING_OFF, missing=missing.name, advice=advice)
        return None
    log.info(LogEvent.TRACING_ON)
    return Spans(exporting(environment, worker))
