"""One worker process: how its parts are wired, how it starts, and how it ends."""

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from random import random
from threading import Event

import structlog

from worker.bootstrap import rules
from worker.bootstrap.health_state import HealthState
from worker.bootstrap.stop_orders import DRAIN_SECONDS, THREAD_FAILED, StopOrders
from worker.contract.encryption import MessageKeys
from worker.core.breaker import BreakerPolicy
from worker.core.timing import DAY
from worker.maintenance import chores
from worker.maintenance.credentials import renewed_credentials
from worker.maintenance.given_up import given_up_requests
from worker.maintenance.housekeeper import Housekeeper
from worker.maintenance.relay import Relay
from worker.pipeline.flow import Flow
from worker.pipeline.gate import Gate
from worker.pipeline.runner import Pipeline
from worker.pipeline.traced import TracedFlow
from worker.ports import DeliverySink, LedgerUnavailable
from worker.provider.client import PersonalAuthClient
from worker.settings import Settings, load
from worker.store.backlog import PostgresBacklog
from worker.store.engine import open_engine
from worker.store.erasure import PostgresRetention
from worker.store.fleet import PostgresPause, PostgresRegistry, count_turned_away
from worker.store.leases import PostgresLeases
from worker.store.ledger import PostgresLedger
from worker.store.outbox import PostgresOutbox
from worker.telemetry.certificates import CertificateGauge, certificate_files
from worker.telemetry.clock import SystemClock
from worker.telemetry.gauges import Gauges
from worker.telemetry.health_server import HealthServer
from worker.telemetry.logs import LogEvent, describe
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import spans


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
        self._engine = engine = open_engine(
            settings.database_url.get_secret_value(),
            self._name,
            by_keys=True,
            pooled=settings.is_pooled,
            on_weak=self._warn_of_weak_settings,
        )
        self._weak_settings: Mapping[str, str] = {}
        self._stopping = Event()
        provider = rules.provider_config(settings)
        self._provider = PersonalAuthClient(provider, stopping=self._stopping)
        self._session = rules.session(settings, fail)

        # What happens to messages.
        self._spans = spans(os.environ, self._name)
        self._metrics = Metrics()
        breaker = BreakerPolicy(settings.breaker_failures, first_wait=settings.probe_seconds)
        self._gate = Gate(breaker, settings.concurrency, clock, random)
        self._pipeline = Pipeline(
            self._flow(),
            self._session,
            clock,
            rules.pipeline_size(settings),
            self._gate,
            fail,
            self._metrics,
        )
        self._sink: DeliverySink = self._pipeline
        if self._spans is not None:
            self._spans.sink, self._sink = self._pipeline, self._spans

        # What is done beside them.
        leases = PostgresLeases(
            engine,
            mode,
            max_in_doubt_calls=settings.max_in_doubt_calls,
            abandon_after=settings.abandon_after_days * DAY or None,
        )
        build = version("verification-worker")
        self._registry = PostgresRegistry(engine, self._name, mode, build)
        old = PostgresRetention(engine, mode)
        self._relay = Relay(PostgresOutbox(engine, mode), self._session, settings.event_format)
        ages = {
            "clear_after_days": settings.clear_after_days,
            "delete_after_days": settings.delete_after_days,
        }
        backlog = PostgresBacklog(engine, mode, **ages)
        waiting = self._pipeline.turned_away
        self._turned_away = chores.turned_away(
            partial(waiting.take, sys.maxsize, 0),
            waiting.put_back,
            partial(count_turned_away, engine, mode),
        )
        monitor = chores.BacklogMonitor(backlog.read, backlog.server, clock)
        housework = (
            self._relay.chore,
            chores.lapsed_leases(leases.settle_lapsed),
            chores.old_requests(old.clear_personal, old.delete, **ages),
            given_up_requests(
                settings.amqp_url.get_secret_value(), self._session, clock, self._metrics
            ),
            monitor.chore,
            self._turned_away,
            renewed_credentials(
                provider, lambda: rules.provider_config(load(Settings)), self._provider.renew
            ),
            chores.registry(lambda: self._health_state.state(), self._registry.report, clock),
        )
        self._housekeeper = Housekeeper("housekeeper", housework, clock, random, fail)
        pause = chores.pause_reader(
            PostgresPause(engine).read, clock, self._gate.set_pause, self._gate.pause_unknown
        )
        locks = chores.lock_watcher(
            lambda: self._pipeline.database_answers, self._registry.blocker, clock
        )
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
        gauges = Gauges(health.levels, budgets[0], labels, budgets[1])
        self._metrics.watch(gauges, CertificateGauge(certificate_files(settings)))
        host, port = settings.http_host, settings.http_port
        self._health_server = HealthServer(host, port, health.answer) if port else None

    def _flow(self) -> Flow:
        settings = self._settings
        parts = (
            rules.request_reader(settings, self._message_keys),
            settings.digests,
            PostgresLedger(self._engine, rules.ledger_config(settings, self._name)),
            self._provider,
            self._clock,
            rules.flow_rules(settings),
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
        """Finish the calls under way and let go of the rest; what outlasts the grace lapses."""
        # First of all: from now on no call begins, and none is repeated.
        self._gate.shut_down()
        self._stopping.set()
        self._health_state.end()
        deadline = self._clock.monotonic() + self._settings.shutdown_grace
        self._session.stop_consuming()
        recorded = self._pipeline.stop(deadline)
        self._housekeeper.stop()
        left = max(1.0, min(DRAIN_SECONDS, deadline - self._clock.monotonic()))
        drained = self._session.drain(left)
        self._pipeline.flush_announced()
        self._relay.flush()
        if self._pipeline.database_answers:
            with suppress(LedgerUnavailable):  # then the row is a day old once, and goes
                self._registry.forget()
                self._turned_away.run_once()
        # Not before: it knows whether the database answers. It only reads, so it may hang.
        self._pause_watcher.stop(timeout=0.0)
        self._session.close()
        self._provider.close()
        if self._health_server is not None:
            self._health_server.close()
        self._engine.dispose()
        if self._spans is not None:
            self._spans.close()
        return recorded and drained
