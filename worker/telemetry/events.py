"""Names of the log's events, the same in every release: people search and alert by them."""

from __future__ import annotations

from enum import StrEnum


class LogEvent(StrEnum):
    """What a log line is about."""

    STARTING = "worker.starting"
    STOPPING = "worker.stopping"
    STOPPED = "worker.stopped"
    FAILED = "worker.failed"
    SETTLED = "message.settled"
    HANDED_BACK = "message.handed_back"
    PARKED = "worker.parked"
    PROBING = "worker.probing"
    RESUMED = "worker.resumed"
    RELAYED = "relay.sent"
    LEASES_SETTLED = "leases.settled"
    RETAINED = "retention.done"
    DATABASE_UNAVAILABLE = "database.unavailable"
    DATABASE_BACK = "database.back"
    HEALTH_LISTENING = "health.listening"
    TRACING_ON = "tracing.on"
    TRACING_OFF = "tracing.off"
    TRACING_PROBLEM = "tracing.problem"
