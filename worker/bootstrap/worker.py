"""Puts the parts together: the only place that names concrete classes."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from importlib.metadata import version
from queue import Empty, SimpleQueue
from random import random
from threading import Event, Thread
from typing import TYPE_CHECKING, NoReturn

import structlog

from worker.amqp.session import Session
from worker.amqp.topology import topology
from worker.contract.encryption import MessageKeys
from worker.contract.request_v1 import RequestReader
from worker.core.breaker import BreakerPolicy
from worker.core.request import Mode
from worker.core.retry import RetryPolicy
from worker.maintenance.backlog_monitor import BacklogMonitor
from worker.maintenance.chores import LapsedLeases
from worker.maintenance.housekeeper import Housekeeper
from worker.maintenance.pause_watcher import PauseWatcher
from worker.maintenance.relay import Relay
from worker.maintenance.retention import OldRequests
from worker.pipeline.flow import Flow, FlowRules
from worker.pipeline.runner import Pipeline, PipelineSize
from worker.pipeline.traced import TracedFlow, TracedSink
from worker.provider.client import PersonalAuthClient
from worker.provider.config import FREE_TRIES, ProviderConfig
from worker.settings import MessageEncryption
from worker.store.backlog import PostgresBacklog
from worker.store.engine import open_engine
from worker.store.leases import PostgresLeases
from worker.store.ledger import LedgerConfig, PostgresLedger
from worker.store.outbox import PostgresOutbox
from worker.store.pause import PostgresPause
from worker.store.retention import PostgresRetention
from worker.telemetry.clock import SystemClock
from worker.telemetry.events import LogEvent
from worker.telemetry.health_server import HealthServer, Sources
from worker.telemetry.health_state import HealthState
from worker.telemetry.logs import describe, threads
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.settings import Settings

# After the last record: confirms and acknowledgements are milliseconds, a slow broker seconds.
DRAIN_SECONDS = 10.0
# A call begins within so many seconds of its place in the shared quota, or not at all: the limit
# holds in every minute only if calls are punctual. A busy machine is late by milliseconds.
PUNCTUAL_WITHIN = 1.0
DAY = 86_400.0


def worker_name() -> str:
    """Return a name for this process that no other one has, today or later."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"


def build(mode: Mode) -> dict[str, str]:
    """Return what the metrics say of what runs here."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"version": version("verification-worker"), "python": python, "mode": mode}


def provider_config(settings: Settings) -> ProviderConfig:
    """Return the provider's part of the settings."""
    token = settings.provider_session_token
    return ProviderConfig(
        live=settings.provider_mode is Mode.LIVE,
        url=settings.provider_url,
        access_key=settings.provider_access_key.get_secret_value(),
        secret_key=settings.provider_secret_key.get_secret_value(),
        session_token=None if token is None else token.get_secret_value(),
        region=settings.provider_region,
        algorithm=settings.provider_algorithm,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        call_deadline=settings.call_deadline,
        ca_file=None if settings.provider_ca_file is None else str(settings.provider_ca_file),
        pool_size=settings.concurrency,
        no_record_pattern=settings.no_record_pattern,
        # A repeat within the call would be a call that the shared limit knows nothing of.
        free_tries=1 if settings.provider_calls_per_minute else FREE_TRIES,
    )


class Worker:
    """One worker process: built, run until told to stop, taken down in order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = structlog.get_logger()
        self._name = worker_name()
        # `SimpleQueue.put` may be called by a signal handler; an Event's lock may not.
        self._orders: SimpleQueue[str] = SimpleQueue()
        self._clock = SystemClock()
        self._digests = settings.digests
        self._message_keys = MessageKeys.of(settings)
        self._giving_up = Event()
        self._spans = spans(os.environ, self._name)
        self._engine = open_engine(
            settings.database_url.get_secret_value(), self._name, by_keys=True
        )
        self._provider = PersonalAuthClient(provider_config(settings), stopping=self._giving_up)
        self._session = Session(
            settings.amqp_url.get_secret_value(),
            prefetch=settings.held_messages,
            topology=(
                topology(settings.retry_delays, settings.dead_letter_days)
                if settings.topology == "apply"
                else None
            ),
            on_failure=lambda _error: self._fail(),
        )
        self._metrics = Metrics()
        self._pipeline = Pipeline(
            self._flow(),
            self._session,
            self._clock,
            self._size(),
            BreakerPolicy(settings.breaker_failures, first_wait=settings.probe_seconds),
            self._fail,
            self._metrics,
        )
        outbox = PostgresOutbox(self._engine, settings.provider_mode)
        self._relay = Relay(outbox, self._session, settings.event_format)
        self._monitor = BacklogMonitor(PostgresBacklog(self._engine, settings.provider_mode))
        self._housekeeper = self._build_housekeeper()
        self._pause_watcher = PauseWatcher(PostgresPause(self._engine), self._clock, self._pipeline)
        self._watching = Housekeeper((self._pause_watcher,), self._clock, random, self._fail)
        chores = {"housekeeper": self._housekeeper, "pause-watcher": self._watching}
        self._state = HealthState(self._session, self._pipeline, chores, self._monitor)
        about = build(settings.provider_mode)
        self._metrics.watch(self._state.levels, settings.daily_call_budget, about)
        sources = Sources(self._state.dead, self._missing, self._remark, self._metrics.exposition)
        self._health = (
            HealthServer(settings.http_host, settings.http_port, sources)
            if settings.http_port
            else None
        )

    def _flow(self) -> Flow:
        settings = self._settings
        ledger_config = LedgerConfig(
            self._name,
            settings.provider_mode,
            settings.lease_seconds,
            settings.max_in_doubt_calls,
            settings.provider_calls_per_minute or None,
            settings.daily_call_budget or None,
            start_margin=PUNCTUAL_WITHIN + settings.connect_timeout,
            reuse_seconds=settings.reuse_results_for or None,
        )
        parts = (
            RequestReader(
                settings.check_policy,
                settings.max_message_bytes,
                self._message_keys,
                required=settings.message_encryption is MessageEncryption.REQUIRED,
            ),
            self._digests,
            PostgresLedger(self._engine, ledger_config),
            self._provider,
            self._clock,
            FlowRules(
                settings.provider_mode,
                RetryPolicy(settings.retry_delays, settings.max_in_doubt_calls),
                start_within=settings.call_deadline + settings.connect_timeout,
                punctual_within=PUNCTUAL_WITHIN if settings.provider_calls_per_minute else None,
                event_format=settings.event_format,
            ),
        )
        return Flow(*parts) if self._spans is None else TracedFlow(self._spans, *parts)

    def _build_housekeeper(self) -> Housekeeper:
        settings = self._settings
        mode = settings.provider_mode
        leases = PostgresLeases(
            self._engine,
            mode,
            max_in_doubt_calls=settings.max_in_doubt_calls,
            abandon_after=settings.abandon_after_days * DAY or None,
        )
        old_requests = OldRequests(
            PostgresRetention(self._engine, mode),
            clear_after_days=settings.clear_after_days,
            delete_after_days=settings.delete_after_days,
        )
        chores = (self._relay, LapsedLeases(leases), old_requests, self._monitor)
        return Housekeeper(chores, self._clock, random, self._fail)

    def _size(self) -> PipelineSize:
        settings = self._settings
        if settings.has_call_limit:
            # A claimed request has its place in the quota: it must find a free caller then.
            return PipelineSize(settings.concurrency, settings.batch_limit, claims_per_caller=1)
        return PipelineSize(settings.concurrency, settings.batch_limit)

    def run(self) -> int:
        """Work until SIGTERM, SIGINT or a failure; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: self._orders.put(_signal_name(number)))
        mode = self._settings.provider_mode
        key_id, *fallbacks = self._digests.key_ids
        keys = {"digest_key_id": key_id, **({"fallbacks": fallbacks} if fallbacks else {})}
        if self._message_keys is not None:
            keys["message_keys"] = self._message_keys.kids
        self._log.info(LogEvent.STARTING, worker=self._name, mode=mode, **keys)
        if self._health is not None:
            self._health.start()
            self._log.info(LogEvent.HEALTH_LISTENING, port=self._health.port)
        self._pipeline.listen()
        self._pause_watcher.look_first()
        self._watching.start()
        self._pipeline.start()
        made = self._spans
        self._session.start(self._pipeline if made is None else TracedSink(self._pipeline, made))
        self._housekeeper.start()
        self._state.begin()
        reason = self._await_order()
        self._log.info(LogEvent.STOPPING, reason=reason)
        for watch in (self._leave_at_second_order, self._leave_when_over):
            Thread(target=watch, daemon=True).start()
        try:
            clean = self._stop()
        except Exception as error:  # noqa: BLE001  # the thread's top: report, and leave all the same
            self._log.error(LogEvent.FAILED, **describe(error))
            clean = False
        self._log.info(LogEvent.STOPPED, clean=clean)
        return 0 if clean and reason != _FAILED else 1

    def _await_order(self) -> str:
        """Return the first order.

        Python's handler runs on this thread, but the kernel may give the signal to another one: in
        a wait without an end this thread would not learn of it.
        """
        while True:
            try:
                return self._orders.get(timeout=1.0)
            except Empty:
                continue

    def _stop(self) -> bool:
        """Finish what is paid for, within the grace; then the leases speak."""
        self._state.end()
        deadline = self._clock.monotonic() + self._settings.shutdown_grace
        self._session.stop_consuming()
        recorded = self._pipeline.stop(deadline)
        self._giving_up.set()
        self._watching.stop(timeout=0.0)  # it only reads: nothing is lost where it hangs
        self._housekeeper.stop()
        left = max(1.0, min(DRAIN_SECONDS, deadline - self._clock.monotonic()))
        drained = self._session.drain(left)
        self._pipeline.flush_announced()
        self._relay.flush()
        self._session.close()
        self._provider.close()
        if self._health is not None:
            self._health.close()
        self._engine.dispose()
        if self._spans is not None:
            self._spans.close()
        return recorded and drained

    def _leave_at_second_order(self) -> None:
        """Leave at once when told twice: nothing is lost, the broker delivers again.

        A thread that fails while we stop is no second order: the others finish what is paid for.
        """
        while (reason := self._orders.get()) == _FAILED:
            continue
        self._leave(f"{reason} again")

    def _leave_when_over(self) -> None:
        """Leave when the grace and what comes after it are over, whatever still hangs."""
        time.sleep(self._settings.shutdown_grace + DRAIN_SECONDS)
        self._leave("the grace is over", threads=threads())

    def _leave(self, reason: str, **facts: object) -> NoReturn:
        self._log.warning(LogEvent.STOPPED, clean=False, reason=reason, **facts)
        sys.stderr.flush()
        os._exit(1)

    def _fail(self) -> None:
        self._orders.put(_FAILED)

    def _missing(self) -> list[str]:
        checks: list[tuple[str, Callable[[], bool]]] = [
            ("the broker is not connected", lambda: self._session.connected),
            (
                "no consumer is registered",
                lambda: self._session.consuming or self._pipeline.parked is not None,
            ),
            ("the broker takes no publications", lambda: not self._session.blocked),
            ("the database does not answer", lambda: self._pipeline.database_answers),
            (
                "the schema is not at head: run `alembic upgrade head`",
                lambda: not self._state.schema_behind,
            ),
        ]
        return [words for words, holds in checks if not holds()]

    def _remark(self) -> str | None:
        parked, hold = self._pipeline.parked, self._pipeline.hold
        if parked is None:
            return None
        return f"parked: {parked}" if hold is None else f"parked: {parked} ({hold.reason})"


_FAILED = "a thread failed"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name
