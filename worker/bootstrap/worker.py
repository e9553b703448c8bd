"""One worker process: how its parts are wired, how it starts, and how it ends."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from random import random
from threading import Event
from typing import TYPE_CHECKING

import structlog

from worker.amqp.session import BulkIntake, Session
from worker.amqp.topology import bulk_topology, live_topology
from worker.bootstrap.health_state import HealthState
from worker.bootstrap.stop_orders import DRAIN_SECONDS, THREAD_FAILED, StopOrders
from worker.contract.encryption import MessageKeys
from worker.contract.request_v1 import RequestReader
from worker.core.breaker import BreakerPolicy
from worker.core.request import Mode
from worker.core.retry import RetryPolicy
from worker.maintenance.chores import (
    BacklogMonitor,
    lapsed_leases,
    lock_watcher,
    old_requests,
    pause_reader,
    registry,
    turned_away,
)
from worker.maintenance.credentials import renewed_credentials
from worker.maintenance.given_up import given_up_requests
from worker.maintenance.housekeeper import Housekeeper
from worker.maintenance.relay import Relay
from worker.pipeline.flow import Flow, FlowRules
from worker.pipeline.gate import Gate
from worker.pipeline.intake import PipelineSize
from worker.pipeline.runner import Pipeline
from worker.pipeline.traced import TracedFlow, TracedSink
from worker.ports import LedgerUnavailable
from worker.provider.client import PersonalAuthClient
from worker.provider.config import FREE_TRIES, ProviderConfig
from worker.settings import MessageEncryption, Settings, load
from worker.store.backlog import PostgresBacklog
from worker.store.claiming import LedgerConfig
from worker.store.engine import open_engine
from worker.store.erasure import PostgresRetention
from worker.store.leases import PostgresLeases
from worker.store.ledger import PostgresLedger
from worker.store.outbox import PostgresOutbox
from worker.store.pause import PostgresPause
from worker.store.registry import PostgresRegistry
from worker.store.turned_away import count_turned_away
from worker.telemetry.certificates import certificate_files
from worker.telemetry.clock import SystemClock
from worker.telemetry.health_server import HealthServer
from worker.telemetry.logs import LogEvent, describe
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.ports import DeliverySink

DAY = 86_400.0


class Worker:
    """One worker process: built, run until told to stop, taken down in order."""

    def __init__(self, settings: Settings) -> None:
        mode = settings.provider_mode
        clock = SystemClock()
        self._settings = settings
        self._clock = clock
        self._log = structlog.get_logger()
        self._name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._stop_orders = StopOrders(settings.shutdown_grace)
        fail = self._stop_orders.thread_failed
        # Before anything is opened: keys may be of no use.
        self._message_keys = MessageKeys.of(settings)

        # What the worker talks to.
        self._engine = open_engine(
            settings.database_url.get_secret_value(),
            self._name,
            by_keys=True,
            pooled=settings.is_pooled,
            on_weak=self._warn_of_weak_settings,
        )
        self._weak_settings: Mapping[str, str] = {}
        self._stopping = Event()
        provider = _provider_config(settings)
        self._provider = PersonalAuthClient(provider, stopping=self._stopping)
        apply, delays = settings.topology == "apply", settings.retry_delays
        self._session = Session(
            settings.amqp_url.get_secret_value(),
            prefetch=settings.held_messages,
            topology=live_topology(delays, settings.dead_letter_days) if apply else None,
            on_failure=lambda _error: fail(),
            bulk=BulkIntake(settings.held_bulk_messages, bulk_topology(delays) if apply else None),
        )

        # What happens to messages.
        self._spans = spans(os.environ, self._name)
        self._metrics = Metrics()
        breaker = BreakerPolicy(settings.breaker_failures, first_wait=settings.probe_seconds)
        self._gate = Gate(breaker, settings.concurrency, clock, random)
        size = PipelineSize(
            settings.concurrency, settings.batch_limit, bulk_share=settings.bulk_share
        )
        if settings.has_call_limit:
            # A claimed request has its place in the quota: it must find a free caller then.
            size = replace(size, claims_per_caller=1)
        self._pipeline = Pipeline(
            self._flow(),
            self._session,
            clock,
            size,
            self._gate,
            fail,
            self._metrics,
        )
        self._sink: DeliverySink = self._pipeline
        if self._spans is not None:
            self._sink = TracedSink(self._pipeline, self._spans)

        # What is done beside them.
        outbox = PostgresOutbox(self._engine, mode)
        leases = PostgresLeases(
            self._engine,
            mode,
            max_in_doubt_calls=settings.max_in_doubt_calls,
            abandon_after=settings.abandon_after_days * DAY or None,
        )
        build = version("verification-worker")
        self._registry = PostgresRegistry(self._engine, self._name, mode, build)
        retention = PostgresRetention(self._engine, mode)
        self._relay = Relay(outbox, self._session, settings.event_format)
        backlog = PostgresBacklog(
            self._engine,
            mode,
            clear_after_days=settings.clear_after_days,
            delete_after_days=settings.delete_after_days,
        )
        waiting = self._pipeline.turned_away
        self._turned_away = turned_away(
            partial(waiting.take, sys.maxsize, 0),
            waiting.put_back,
            partial(count_turned_away, self._engine, mode),
        )
        monitor = BacklogMonitor(backlog.read, backlog.server, clock)
        chores = (
            self._relay.chore,
            lapsed_leases(leases.settle_lapsed),
            old_requests(
                retention.clear_personal,
                retention.delete,
                clear_after_days=settings.clear_after_days,
                delete_after_days=settings.delete_after_days,
            ),
            given_up_requests(
                settings.amqp_url.get_secret_value(), self._session, clock, self._metrics
            ),
            monitor.chore,
            self._turned_away,
            renewed_credentials(
                provider, lambda: _provider_config(load(Settings)), self._provider.renew
            ),
            registry(lambda: self._health_state.state(), self._registry.report, clock),
        )
        self._housekeeper = Housekeeper("housekeeper", chores, clock, random, fail)
        pause = pause_reader(
            PostgresPause(self._engine).read, clock, self._gate.set_pause, self._gate.pause_unknown
        )
        locks = lock_watcher(lambda: self._pipeline.database_answers, self._registry.blocker, clock)
        self._pause_watcher = Housekeeper("pause-watcher", (pause, locks), clock, random, fail)

        # What is said of it all.
        self._health_state = health = HealthState(
            self._session,
            self._pipeline,
            self._gate,
            (self._housekeeper, self._pause_watcher),
            monitor,
            self._metrics,
        )
        python = ".".join(map(str, sys.version_info[:3]))
        labels = {"version": build, "python": python, "mode": mode}
        budgets = settings.daily_call_budget, settings.bulk_daily_call_budget
        self._metrics.watch(health.levels, budgets[0], labels, budgets[1])
        self._metrics.watch_certificates(certificate_files(settings))
        host, port = settings.http_host, settings.http_port
        self._health_server = HealthServer(host, port, health.answer) if port else None

    def _flow(self) -> Flow:
        settings = self._settings
        timing = settings.timing
        ledger_config = LedgerConfig(
            self._name,
            settings.provider_mode,
            timing.lease_seconds,
            settings.max_in_doubt_calls,
            settings.provider_calls_per_minute or None,
            settings.daily_call_budget or None,
            start_margin=timing.start_margin,
            longest_delay=settings.retry_delays[-1],
            reuse_seconds=settings.reuse_results_for or None,
            bulk_share=settings.bulk_share,
            bulk_daily_call_budget=settings.bulk_daily_call_budget or None,
        )
        parts = (
            RequestReader(
                settings.check_policy,
                settings.max_message_bytes,
                self._message_keys,
                required=settings.message_encryption is MessageEncryption.REQUIRED,
            ),
            settings.digests,
            PostgresLedger(self._engine, ledger_config),
            self._provider,
            self._clock,
            FlowRules(
                settings.provider_mode,
                RetryPolicy(
                    settings.retry_delays,
                    settings.max_in_doubt_calls,
                    settings.give_up_after or None,
                ),
                start_within=timing.start_within,
                punctual_within=(
                    timing.punctual_within if settings.provider_calls_per_minute else None
                ),
                event_format=settings.event_format,
            ),
        )
        return Flow(*parts) if self._spans is None else TracedFlow(self._spans, *parts)

    def run(self) -> int:
        """Work until SIGTERM, SIGINT or a failure; return the exit code.

        Raises `DatabaseUnfit` where the database, asked for a pause, turns out to be.
        """
        self._stop_orders.listen()
        self._log.info(LogEvent.STARTING, **self._identity())
        if self._health_server is not None:
            self._health_server.start()
            self._log.info(LogEvent.HEALTH_LISTENING, port=self._health_server.port)
        self._gate.expect_pause_reports()
        self._pause_watcher.run_now()
        self._pause_watcher.start()
        self._pipeline.start()
        self._session.start(self._sink)
        self._housekeeper.start()
        self._health_state.begin()
        reason = self._stop_orders.wait()
        self._log.info(LogEvent.STOPPING, reason=reason)
        self._stop_orders.watch_the_end()
        try:
            clean = self._stop()
        except Exception as error:  # noqa: BLE001  # the thread's top: report, and leave all the same
            self._log.error(LogEvent.FAILED, **describe(error))
            clean = False
        self._log.info(LogEvent.STOPPED, clean=clean)
        return 0 if clean and reason != THREAD_FAILED else 1

    def _warn_of_weak_settings(self, weak: Mapping[str, str]) -> None:
        """Say once which of the database's settings could lose a call that was committed."""
        if weak != self._weak_settings:
            self._weak_settings = weak
            self._log.warning(LogEvent.DATABASE_NOT_DURABLE, **weak)

    def _identity(self) -> dict[str, object]:
        key_id, *fallbacks = self._settings.digests.key_ids
        who: dict[str, object] = {"worker": self._name, "mode": self._settings.provider_mode}
        who["digest_key_id"] = key_id
        if fallbacks:
            who["fallbacks"] = fallbacks
        if self._message_keys is not None:
            who["message_keys"] = self._message_keys.kids
        return who

    def _stop(self) -> bool:
        """Finish the calls under way, let go what is uncalled; the grace over, leases lapse."""
        # First of all: from now on no call begins, and none is repeated.
        self._gate.shut_down()
        self._stopping.set()
        self._health_state.end()
        deadline = self._clock.monotonic() + self._settings.shutdown_grace
        self._session.stop_consuming()
        recorded = self._pipeline.stop(deadline)
        self._pause_watcher.stop(timeout=0.0)  # it only reads: nothing is lost where it hangs
        self._housekeeper.stop()
        left = max(1.0, min(DRAIN_SECONDS, deadline - self._clock.monotonic()))
        drained = self._session.drain(left)
        self._pipeline.flush_announced()
        self._relay.flush()
        if self._pipeline.database_answers:
            with suppress(LedgerUnavailable):  # then the row is a day old once, and goes
                self._registry.forget()
                self._turned_away.run_once()
        self._session.close()
        self._provider.close()
        if self._health_server is not None:
            self._health_server.close()
        self._engine.dispose()
        if self._spans is not None:
            self._spans.close()
        return recorded and drained


def _provider_config(settings: Settings) -> ProviderConfig:
    """Return the provider's part of the settings."""
    token, proxy = settings.provider_session_token, settings.provider_proxy
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
        proxy=None if proxy is None else proxy.get_secret_value(),
        pool_size=settings.concurrency,
        no_record_pattern=settings.no_record_pattern,
        # A repeat within the call would be a call that the shared limit knows nothing of.
        free_tries=1 if settings.provider_calls_per_minute else FREE_TRIES,
    )
