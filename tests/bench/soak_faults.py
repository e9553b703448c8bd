"""The faults of a soak: each breaks one thing, lasts a moment, and mends it again."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

import psycopg

from local_broker import Broker
from local_database import Database
from tests.chaos.proxy import STATUSES, TO_CLIENT, TO_SERVER, Middlebox, Proxy
from tests.e2e.harness import Process, Stack, until

# Behaviours that a whole outage may have.
OUTAGES = ["unavailable", "access_error", "quota_exceeded", "rate_limited", "rate_limited_silent",
           "reset_before_charge", "reset_after_charge", "hang_after_charge", "html"]  # fmt: skip
SHORTEST, LONGEST = 0.5, 4.0
# Beyond a lease of 4 s, and beyond the 10 s after which the broker gives messages to others.
FROZEN = (5.0, 14.0)
# Long enough to burn a backlog, were the page taken for the provider's word.
PAGE = (3.0, 9.0)
# Seconds for what always happens in the end, on a machine however busy.
PATIENCE = 600.0


class Site(Protocol):
    """All that can be broken."""

    broker: Broker
    database: Database
    stack: Stack
    to_broker: Proxy
    to_database: Proxy
    to_provider: Middlebox
    workers: list[Process]

    def start_worker(self) -> Process:
        """Start one more."""


class Faults:
    """Picks faults by a seed and applies them one after another."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._kinds: list[Callable[[], None]] = [
            self.worker_killed,
            self.worker_killed,
            self.worker_stopped,
            self.worker_frozen,
            self.worker_frozen,
            self.broker_restarted,
            self.broker_killed,
            self.broker_frozen,
            self.database_restarted,
            self.database_killed,
            self.database_sessions_ended,
            self.rows_locked,
            self.network_stalled,
            self.network_reset,
            self.network_delayed,
            self.connection_cut,
            self.connections_refused,
            self.provider_outage,
            self.provider_outage,
            self.foreign_page,
            self.foreign_page,
        ]
        self._left: list[Callable[[], None]] = []
        self.applied = Counter[str]()

    def apply_one(self) -> str:
        """Break something, mend it, and return its name: all kinds in turn, in random order."""
        if not self._left:
            self._left = self._random.sample(self._kinds, len(self._kinds))
        fault = self._left.pop()
        fault()
        self.applied[fault.__name__] += 1
        return fault.__name__

    def pause(self) -> None:
        """Let work go on for a while."""
        time.sleep(self._random.uniform(0.5, 3.0))

    # Workers

    def worker_killed(self) -> None:
        """Kill -9, and start another in its place."""
        self._replace(Process.kill)

    def worker_stopped(self) -> None:
        """SIGTERM in the middle of work: it must end in time (1: not all was confirmed)."""

        def stop(worker: Process) -> None:
            # One that has only just been started has no handler for the signal yet.
            all_consume([worker])
            code = worker.stop(PATIENCE)
            assert code in (0, 1), f"a worker ended with {code}: {worker.lines[-5:]}"

        self._replace(stop)

    def worker_frozen(self) -> None:
        """Let it stand still for longer than its leases hold; it goes on with what it has."""
        worker = self._random.choice(self._site.workers)
        worker.popen.send_signal(signal.SIGSTOP)
        try:
            time.sleep(self._random.uniform(*FROZEN))
        finally:
            worker.popen.send_signal(signal.SIGCONT)

    def _replace(self, end: Callable[[Process], None]) -> None:
        place = self._random.randrange(len(self._site.workers))
        end(self._site.workers[place])
        self._last()
        self._site.workers[place] = self._site.start_worker()

    # Servers

    def broker_restarted(self) -> None:
        """Stop it in order and start it."""
        self._site.broker.stop()
        self._site.broker.start()

    def broker_killed(self) -> None:
        """Kill -9 and start it."""
        self._site.broker.kill()
        self._site.broker.start()

    def broker_frozen(self) -> None:
        """Let it stand still."""
        self._site.broker.pause()
        self._last()
        self._site.broker.resume()

    def database_restarted(self) -> None:
        """Restart it in order."""
        self._site.database.restart()

    def database_killed(self) -> None:
        """Kill -9 and start it."""
        self._site.database.kill()
        self._last()
        self._site.database.start()

    def database_sessions_ended(self) -> None:
        """End all sessions but ours."""
        with psycopg.connect(self._site.stack.database_url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def rows_locked(self) -> None:
        """Hold a lock on all open requests."""
        with psycopg.connect(self._site.stack.database_url) as connection:
            connection.execute(
                "SELECT 1 FROM verification.request WHERE completed_at IS NULL FOR UPDATE"
            )
            self._last()

    # The network

    def network_stalled(self) -> None:
        """Swallow every packet for a while."""
        proxy = self._some_proxy()
        proxy.stall()
        self._last()
        proxy.resume()

    def network_reset(self) -> None:
        """Reset all connections."""
        self._some_proxy().reset()

    def network_delayed(self) -> None:
        """Let every packet come late."""
        proxy = self._some_proxy()
        proxy.delay(self._random.uniform(0.05, 0.5))
        self._last()
        proxy.delay(0)

    def connection_cut(self) -> None:
        """Cut a connection in the middle of what it carries."""
        proxy = self._some_proxy()
        direction = self._random.choice([TO_SERVER, TO_CLIENT])
        proxy.cut_after(self._random.randrange(1, 5_000), direction)
        self._last()

    def connections_refused(self) -> None:
        """Refuse new connections and end those there are: a failover."""
        proxy = self._some_proxy()
        proxy.refuse()
        proxy.reset()
        self._last()
        proxy.accept()

    def _some_proxy(self) -> Proxy:
        site = self._site
        return self._random.choice([site.to_broker, site.to_database, site.to_provider])

    # The provider

    def provider_outage(self) -> None:
        """Let every call fail in the same way."""
        self._site.stack.provider.play(act=self._random.choice(OUTAGES))
        self._last()
        self._site.stack.provider.play()

    def foreign_page(self) -> None:
        """Let something between us and the provider answer every call with a page of its own."""
        self._site.to_provider.show(self._random.choice(STATUSES))
        time.sleep(self._random.uniform(*PAGE))
        self._site.to_provider.clear()

    def _last(self) -> None:
        time.sleep(self._random.uniform(SHORTEST, LONGEST))


def all_consume(workers: list[Process]) -> None:
    """Return when every worker is alive; one that has died by itself is a failure."""
    for worker in workers:
        until(partial(_consumes, worker), PATIENCE)


def _consumes(worker: Process) -> bool:
    code = worker.popen.poll()
    assert code is None, f"a worker died with {code}: {worker.lines[-5:]}"
    return worker.said('"amqp.consuming"') is not None
