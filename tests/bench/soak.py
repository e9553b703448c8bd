"""A soak: workers with wrong clocks, faults of all kinds at random, and one table at the end.

    ./deploy/local/setup && .venv/bin/python -m tests.bench.soak --minutes 2

Starts its own broker, database and sandbox. `--seed` repeats a run's load and faults; any setting
of the workers may follow as NAME=VALUE, such as MAX_IN_DOUBT_CALLS=0 or DAILY_CALL_BUDGET=1000000.
Exit code 1 where a promise is broken.
"""

from __future__ import annotations

import itertools
import random
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Annotated

import typer
from typer import Argument, Option

from local_broker import Broker
from local_database import Database
from local_stack import Servers
from tests.bench import soak_check
from tests.bench.soak_faults import PATIENCE, Faults, all_consume
from tests.bench.soak_load import Publisher, Sent
from tests.chaos.proxy import Middlebox, Proxy
from tests.conftest import migrate
from tests.e2e.harness import BULK_REQUESTS, CHECKOUT, REQUESTS, Process, Stack, sandbox, until
from tests.e2e.stacks import apply_topology

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
        assert isinstance(servers.broker, Broker)
        assert isinstance(servers.database, Database)
        self.broker, self.database = servers.broker, servers.database
        provider = exits.enter_context(sandbox(0.02))
        database_url = servers.database.create_database("soak")
        migrate(database_url)
        self.stack = Stack(servers.broker.url, database_url, provider)
        self.stack.environment["RETRY_DELAYS"] = ",".join(f"{delay}s" for delay in DELAYS)
        exits.callback(self.stack.close)
        apply_topology(self.stack)
        self.stack.collect_events(quorum=True)

        self.to_broker = exits.enter_context(Proxy(servers.broker.url))
        self.to_database = exits.enter_context(Proxy(database_url))
        self.to_provider = exits.enter_context(Middlebox(provider.url))
        self._settings = {
            **SETTINGS,
            "AMQP_URL": self.to_broker.url + "?heartbeat=5",
            "DATABASE_URL": self.to_database.url,
            "PROVIDER_URL": self.to_provider.url,
            **settings,
        }
        self._settings["PYTHONPATH"] = str(CHECKOUT / "tests" / "chaos" / "skewed_clock")
        self._clocks = itertools.cycle(CLOCKS)
        self._number = workers
        self._patience = time.monotonic() + PATIENCE
        self.broken: list[str] = []
        """What did not go on or come to an end."""
        self.workers: list[Process] = []
        self.faults = Faults(self, seed)
        self.publisher = Publisher(servers.broker.url, seed, rate)

    def run(self, seconds: float, say: Callable[[str], None]) -> Sent:
        """Break things for so long, then let all come to rest; return what was published."""
        for _ in range(self._number):
            self.workers.append(self.start_worker())
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

    def start_worker(self) -> Process:
        """Start a worker whose clock is wrong, and wait for nothing."""
        skew = str(60 * next(self._clocks))
        return self.stack.launch_worker(**self._settings, CLOCK_SKEW_SECONDS=skew)

    def _waiting(self) -> int:
        retries = (f"verification.{x}retry.{delay}s" for x in ("", "bulk.") for delay in DELAYS)
        return sum(map(self.stack.depth, (REQUESTS, BULK_REQUESTS, *retries)))


Settings = Annotated[list[str] | None, Argument(help="of the workers", metavar="NAME=VALUE")]


def main(
    settings: Settings = None,
    minutes: Annotated[float, Option(help="how long faults occur")] = 2.0,
    seed: Annotated[int | None, Option(help="the same seed, the same faults")] = None,
    rate: Annotated[float, Option(help="messages per second")] = 40.0,
    workers: Annotated[int, Option(help="how many workers")] = 3,
) -> None:
    """Run a soak and print its table."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    print(f"seed {seed}", flush=True)
    given = dict(each.split("=", 1) for each in settings or ())
    with ExitStack() as exits:
        soak = Soak(exits, seed, rate, workers, given)
        sent = soak.run(minutes * 60, lambda words: print(words, flush=True))
        allowed = int(given.get("MAX_IN_DOUBT_CALLS", "1"))
        table = soak_check.count(soak.stack, sent, allowed, DELAYS)
        faults = soak.faults.applied
    print("\nfaults: " + ", ".join(f"{name} {times}" for name, times in sorted(faults.items())))
    print("\n".join(soak.broken))
    for line in table:
        mark = "" if line.wanted is None else "ok" if line.holds else f"BROKEN, not {line.wanted}"
        print(f"{line.name:<42}{line.value!s:>9}  {mark}".rstrip(), flush=True)
    if soak.broken or not all(line.holds for line in table):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
