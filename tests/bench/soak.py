"""A soak: two workers, faults of all kinds at random, and one table at the end.

    ./deploy/local/setup && .venv/bin/python -m tests.bench.soak --minutes 2

Starts its own broker, database and sandbox. `--seed` repeats a run's load and faults; any setting
of the workers may follow as NAME=VALUE. Exit code 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

from local_broker import Broker
from local_database import Database
from local_stack import Servers
from tests.bench import soak_check
from tests.bench.soak_faults import Faults, Site, all_consume
from tests.bench.soak_load import Publisher
from tests.chaos.proxy import Proxy
from tests.conftest import migrate
from tests.e2e.harness import REQUESTS, RESULTS, Process, Stack, sandbox, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.soak_load import Sent

# Short everywhere, so that many faults and their ends fit into a minute: a lease lapses after
# 2 x (1 + 0.5) + 1 = 4 s, a dead connection is noticed within 10 s.
SETTINGS = {
    "CALL_DEADLINE": "1",
    "CONNECT_TIMEOUT": "0.5",
    "LEASE_MARGIN": "1",
    "PROBE_SECONDS": "0.5",
    "SHUTDOWN_GRACE": "20",
    "CONCURRENCY": "8",
    "PREFETCH": "64",
}
DELAYS = (1, 2, 3)
# What a soak that has come to its end may still wait for: the longest probe interval of a worker
# that has parked, the relay, reconnections.
SETTLE_SECONDS = 400.0


class Soak:
    """One run."""

    def __init__(self, exits: ExitStack, seed: int, rate: float, settings: dict[str, str]) -> None:
        servers = exits.enter_context(Servers({}))
        broker, database = servers.broker, servers.database
        assert isinstance(broker, Broker)
        assert isinstance(database, Database)
        provider = exits.enter_context(sandbox(0.02))
        database_url = servers.database.create_database("soak")
        migrate(database_url)
        self.stack = Stack(servers.broker.url, database_url, provider)
        exits.callback(self.stack.close)
        applied = self.stack.command("topology", "apply")
        assert applied.returncode == 0, applied.stderr
        self._collect_events()

        def proxy(url: str) -> Proxy:
            parts = urlsplit(url)
            return exits.enter_context(Proxy(str(parts.hostname), int(parts.port or 0)))

        to_broker, to_database = proxy(servers.broker.url), proxy(database_url)
        to_provider = proxy(provider.url)
        self._settings = {
            **SETTINGS,
            "AMQP_URL": to_broker.through(servers.broker.url) + "?heartbeat=5",
            "DATABASE_URL": to_database.through(database_url),
            "PROVIDER_URL": to_provider.through(provider.url),
            **settings,
        }
        self.workers: list[Process] = []
        site = Site(
            broker,
            database,
            database_url,
            provider,
            to_broker,
            to_database,
            to_provider,
            self.workers,
            self._start_worker,
        )
        self.faults = Faults(site, seed)
        self.publisher = Publisher(servers.broker.url, seed, rate)

    def run(self, seconds: float, say: Callable[[str], None]) -> Sent:
        """Break things for so long, then let all come to rest; return what was published."""
        self.workers += [self._start_worker(), self._start_worker()]
        all_consume(self.workers, 60)
        self.publisher.start()
        self.stack.forget_connection()  # the broker will be killed under it
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                say(f"{left:5.0f} s left: {self.faults.apply_one()}")
                self.faults.pause()
            all_consume(self.workers, 60)
            before = self.publisher.calm_down()
            say(f"published {self.publisher.sent.messages}; waiting until all is settled")
            until(lambda: before <= self.stack.results().keys(), SETTLE_SECONDS)
        finally:
            self.publisher.stop()
        sent = self.publisher.sent
        until(lambda: self.stack.count() >= len(sent.requests), SETTLE_SECONDS)
        until(lambda: self._waiting() == 0, SETTLE_SECONDS)
        unsent = "SELECT 1 FROM verification_v1.results WHERE event_sent_at IS NULL LIMIT 1"
        until(lambda: not self.stack.rows(unsent), SETTLE_SECONDS)
        for worker in self.workers:
            assert worker.stop(60) == 0, worker.lines[-5:]
        until(lambda: self._waiting() == 0, SETTLE_SECONDS)
        return sent

    def _start_worker(self) -> Process:
        return self.stack.launch_worker(**self._settings)

    def _collect_events(self) -> None:
        channel = self.stack.channel
        channel.queue_declare("collector", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("collector", RESULTS, "#")

    def _waiting(self) -> int:
        queues = [REQUESTS, *(f"verification.retry.{delay}s" for delay in DELAYS)]
        return sum(self.stack.depth(queue) for queue in queues)


def main() -> int:
    """Run a soak and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults occur")
    seed = random.SystemRandom().randrange(1_000_000)
    parser.add_argument("--seed", type=int, default=seed, help="the same seed, the same faults")
    parser.add_argument("--rate", type=float, default=40.0, help="messages per second")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="of the workers")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    settings = dict(each.split("=", 1) for each in given.settings)
    with ExitStack() as exits:
        soak = Soak(exits, given.seed, given.rate, settings)
        sent = soak.run(given.minutes * 60, lambda words: print(words, flush=True))
        table = soak_check.count(soak.stack, sent)
        faults = soak.faults.applied
    print("\nfaults: " + ", ".join(f"{name} {times}" for name, times in sorted(faults.items())))
    for line in table:
        mark = "" if line.wanted is None else "ok" if line.holds else f"BROKEN, not {line.wanted}"
        print(f"{line.name:<38}{line.value!s:>9}  {mark}".rstrip())
    return 0 if all(line.holds for line in table) else 1


if __name__ == "__main__":
    sys.exit(main())
