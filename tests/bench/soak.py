"""A soak: workers with wrong clocks, faults of all kinds at random, and one table at the end.

    ./deploy/local/setup && .venv/bin/python -m tests.bench.soak --minutes 2

Starts its own broker, database and sandbox. `--seed` repeats a run's load and faults; any setting
of the workers may follow as NAME=VALUE, such as MAX_IN_DOUBT_CALLS=0 or DAILY_CALL_BUDGET=1000000.
Exit code 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import ExitStack
from urllib.parse import urlsplit

from local_broker import Broker
from local_database import Database
from local_stack import Servers
from tests.bench import soak_check
from tests.bench.soak_faults import PATIENCE, Faults, Site, all_consume
from tests.bench.soak_load import Publisher, Sent
from tests.chaos.middlebox import Middlebox
from tests.chaos.proxy import Proxy
from tests.conftest import migrate
from tests.e2e.harness import (
    BULK_REQUESTS,
    CHECKOUT,
    REQUESTS,
    RESULTS,
    Process,
    Stack,
    sandbox,
    until,
)

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
# Of which the shortest is more than the second of slack that a copy is given.
DELAYS = (2, 4, 6)
# Minutes by which the workers' clocks are wrong, in turn; the provider takes signatures of 15.
CLOCKS = (-10, 10, 0, 3)


class Soak:
    """One run."""

    def __init__(
        self, exits: ExitStack, seed: int, rate: float, workers: int, settings: dict[str, str]
    ) -> None:
        servers = exits.enter_context(Servers({}))
        broker, database = servers.broker, servers.database
        assert isinstance(broker, Broker)
        assert isinstance(database, Database)
        provider = exits.enter_context(sandbox(0.02))
        database_url = servers.database.create_database("soak")
        migrate(database_url)
        self.stack = Stack(servers.broker.url, database_url, provider)
        self.stack.environment["RETRY_DELAYS"] = ",".join(f"{delay}s" for delay in DELAYS)
        exits.callback(self.stack.close)
        applied = self.stack.command("topology", "apply")
        assert applied.returncode == 0, applied.stderr
        self._collect_events()

        def address(url: str) -> tuple[str, int]:
            parts = urlsplit(url)
            return str(parts.hostname), int(parts.port or 0)

        to_broker = exits.enter_context(Proxy(*address(servers.broker.url)))
        to_database = exits.enter_context(Proxy(*address(database_url)))
        to_provider = exits.enter_context(Middlebox(*address(provider.url)))
        self._settings = {
            **SETTINGS,
            "AMQP_URL": to_broker.through(servers.broker.url) + "?heartbeat=5",
            "DATABASE_URL": to_database.through(database_url),
            "PROVIDER_URL": to_provider.through(provider.url),
            **settings,
        }
        self._settings["PYTHONPATH"] = str(CHECKOUT / "tests" / "chaos" / "skewed_clock")
        self._clocks = itertools.cycle(CLOCKS)
        self._number = workers
        self._patience = time.monotonic() + PATIENCE
        self.broken: list[str] = []
        """What did not go on or come to an end."""
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
        for _ in range(self._number):
            self.workers.append(self._start_worker())
        all_consume(self.workers)
        self.publisher.start()
        self.stack.forget_connection()  # the broker will be killed under it
        end = time.monotonic() + seconds
        before: Collection[str] = ()
        try:
            while (left := end - time.monotonic()) > 0:
                say(f"{left:5.0f} s left: {self.faults.apply_one()}")
                self.faults.pause()
            all_consume(self.workers)
            before = self.publisher.calm_down()
            say(f"published {self.publisher.sent.messages}; waiting until all is settled")
            self._patience = time.monotonic() + PATIENCE
            self._rests("first requests", lambda: before <= self.stack.results().keys())
        except (Exception, KeyboardInterrupt):  # noqa: BLE001  # the table tells what holds
            self.broken.append(traceback.format_exc())
        finally:
            self.publisher.stop()
        self._settle(self.publisher.sent)
        return self.publisher.sent

    def _settle(self, sent: Sent) -> None:
        unsent = "SELECT 1 FROM verification_v1.results WHERE event_sent_at IS NULL LIMIT 1"
        self._rests("requests", lambda: self.stack.count() >= len(sent.requests))
        self._rests("queues", lambda: self._waiting() == 0)
        self._rests("events", lambda: not self.stack.rows(unsent))
        for worker in self.workers:
            if (code := worker.stop(PATIENCE)) != 0:
                self.broken.append(f"a worker ended with {code}: {worker.lines[-5:]}")
        self._rests("queues of stopped workers", lambda: self._waiting() == 0)

    def _rests(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until this is settled; what it waits for may be a parked worker's longest probe."""
        try:
            until(condition, max(30.0, self._patience - time.monotonic()))
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the rest is looked at
            self.broken.append(f"{what}: {error!r}")

    def _start_worker(self) -> Process:
        skew = str(60 * next(self._clocks))
        return self.stack.launch_worker(**self._settings, CLOCK_SKEW_SECONDS=skew)

    def _collect_events(self) -> None:
        channel = self.stack.channel
        channel.queue_declare("collector", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("collector", RESULTS, "#")

    def _waiting(self) -> int:
        queues = [
            REQUESTS,
            BULK_REQUESTS,
            *(f"verification.{lane}retry.{delay}s" for lane in ("", "bulk.") for delay in DELAYS),
        ]
        return sum(self.stack.depth(queue) for queue in queues)


def main() -> int:
    """Run a soak and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults occur")
    seed = random.SystemRandom().randrange(1_000_000)
    parser.add_argument("--seed", type=int, default=seed, help="the same seed, the same faults")
    parser.add_argument("--rate", type=float, default=40.0, help="messages per second")
    parser.add_argument("--workers", type=int, default=3, help="how many workers")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="of the workers")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    settings = dict(each.split("=", 1) for each in given.settings)
    with ExitStack() as exits:
        soak = Soak(exits, given.seed, given.rate, given.workers, settings)
        sent = soak.run(given.minutes * 60, lambda words: print(words, flush=True))
        allowed = int(settings.get("MAX_IN_DOUBT_CALLS", "1"))
        table = soak_check.count(soak.stack, sent, allowed, DELAYS)
        faults = soak.faults.applied
    print("\nfaults: " + ", ".join(f"{name} {times}" for name, times in sorted(faults.items())))
    print("\n".join(soak.broken))
    for line in table:
        mark = "" if line.wanted is None else "ok" if line.holds else f"BROKEN, not {line.wanted}"
        print(f"{line.name:<42}{line.value!s:>9}  {mark}".rstrip(), flush=True)
    return 0 if all(line.holds for line in table) and not soak.broken else 1


if __name__ == "__main__":
    sys.exit(main())
