"""The contest: our worker and its peers do the same durable job in turn, on the same servers.

    ./deploy/local/bench

Each round gives every contestant an empty database and a backlog of its own, and counts at the end
that rows = events = messages. Printed are the medians of the rounds, and the median and the spread
of ours / theirs in the same round: figures of one run are comparable with each other and with
nothing else.

Processor time is counted from the start of the process to the last event, so that what a contestant
loads and prepares counts too; rates count from the first event. What the server counts (commits,
bytes of WAL) begins at light load when the contestant consumes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import psycopg

from local_broker import Broker
from local_database import Database
from local_stack import Servers
from tests.bench import contestants, stand_in
from tests.bench.contestants import Contestant
from tests.bench.process_tree import ProcessTree, Stopwatch, server_cpu_seconds
from tests.bench.report import Figure, leads, picture, table
from tests.bench.soak_load import id_card
from tests.e2e.harness import CHECKOUT

COLLECTOR = "bench.collector"
LATE = 0.3
"""Seconds that the late provider takes."""
RATE = 20.0
"""Messages per second at light load."""

FIGURES = (
    Figure("rate", "messages/s, instant", 0, best=max),
    Figure("cpu", "CPU s / 1,000, instant", 3),
    Figure("steady", "the same, after the first event", 3),
    Figure("system", "instant, with broker and database", 3),
    Figure("late", "messages/s, 300 ms, 256 in flight", 0, best=max),
    Figure("late cpu", "CPU s / 1,000, 300 ms", 3),
    Figure("memory", "PSS, MB", 0),
    Figure("p50", "20 messages/s: added p50, ms", 1),
    Figure("p99", "20 messages/s: added p99, ms", 1),
    Figure("light cpu", "CPU s / 1,000, 20 messages/s", 2),
    Figure("light system", "20 messages/s, with broker and database", 2),
    Figure("commits", "commits a message, 20 messages/s", 2),
    Figure("wal", "WAL bytes a message, 20 messages/s", 0),
)
DRAWN = ("rate", "cpu", "late", "late cpu", "p50", "memory")
Figures = dict[str, dict[str, list[float]]]
"""By contestant and figure, one of each round."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long a contest is."""

    rounds: int
    messages: int
    light_messages: int


class Arena:
    """The servers, and a channel of our own to them."""

    def __init__(self, servers: Servers, log: Path) -> None:
        self._servers = servers
        self._log = log
        parameters = pika.URLParameters(servers.broker.url)
        parameters.heartbeat = 0
        self._connection = pika.BlockingConnection(parameters)
        self.channel = self._connection.channel()
        self._number = 0

    @contextmanager
    def round(
        self, contestant: Contestant, provider: str, settings: Mapping[str, str]
    ) -> Iterator[Round]:
        """Prepare an empty database and empty queues; leave nothing behind."""
        self._number += 1
        name = f"round_{self._number}"
        url = self._servers.database.create_database(name, template=contestant.template)
        contestant.declare(self.channel)
        self.channel.queue_declare(COLLECTOR, durable=True)
        self.channel.queue_bind(COLLECTOR, contestant.results, "#")
        environment = {
            **contestant.environment,
            **settings,
            "AMQP_URL": self._servers.broker.url,
            "DATABASE_URL": url,
            "PROVIDER_URL": provider,
        }
        the_round = Round(self, contestant, environment, url, self._log)
        try:
            yield the_round
        finally:
            the_round.end()
            for queue in (COLLECTOR, contestant.queue):
                self.channel.queue_delete(queue)
            self._servers.database.drop_database(name)

    def servers_cpu_seconds(self) -> float:
        """Return user + system seconds so far of broker and database."""
        return sum(server_cpu_seconds(pid) for pid in (self.broker_pid, self.database_pid))

    @property
    def broker_pid(self) -> int:
        """The process, and session, of the broker."""
        assert isinstance(self._servers.broker, Broker)
        return self._servers.broker.pid

    @property
    def database_pid(self) -> int:
        """The process, and session, of the database server."""
        assert isinstance(self._servers.database, Database)
        return self._servers.database.pid

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        """Return how many consumers a queue has."""
        return int(self.channel.queue_declare(queue, passive=True).method.consumer_count)


class Round:
    """One contestant at work."""

    def __init__(
        self,
        arena: Arena,
        contestant: Contestant,
        environment: Mapping[str, str],
        database_url: str,
        log: Path,
    ) -> None:
        self._arena = arena
        self._contestant = contestant
        self._environment = environment
        self.database_url = database_url
        self._log = log
        self._trees: list[ProcessTree] = []

    def start(self, checkout: Path = CHECKOUT) -> ProcessTree:
        """Start the contestant, or one process more of it."""
        tree = ProcessTree(self._contestant.command, self._environment, self._log, checkout)
        self._trees.append(tree)
        return tree

    def end(self) -> None:
        """Leave no process behind."""
        for tree in self._trees:
            tree.kill()

    def cpu_seconds(self) -> float:
        """Return user + system seconds so far of all that was started."""
        return sum(tree.cpu_seconds() for tree in self._trees)

    def publish_backlog(self, messages: int, first: int = 0) -> None:
        """Publish so many requests."""
        self.publish(request_number(first + number) for number in range(messages))

    def publish(self, requests: Iterable[dict[str, Any]], exchange: str | None = None) -> None:
        """Publish fast, in one transaction."""
        channel = self._arena.channel.connection.channel()
        channel.tx_select()
        for request in requests:
            usual, *rest = self._contestant.message(request)
            channel.basic_publish(exchange or usual, *rest)
        channel.tx_commit()
        channel.close()

    def work_off(self, messages: int) -> dict[str, float]:
        """Return what a backlog of so many costs, and how fast it goes."""
        self.publish_backlog(messages)
        servers = self._arena.servers_cpu_seconds()
        tree = self.start()
        done = self.await_events(1, 30)
        watch = Stopwatch(tree, done)
        self.await_events(messages, 120)
        rate, steady = watch.rate(messages), watch.cpu_per_1000(messages)
        own = tree.cpu_seconds()
        whole = own + self._arena.servers_cpu_seconds() - servers
        memory = tree.pss()
        self._check(messages)
        return {
            "rate": rate,
            "cpu": own / messages * 1000,
            "steady": steady,
            "system": whole / messages * 1000,
            "memory": memory / 1e6,
        }

    def light_load(self, messages: int) -> dict[str, float]:
        """Return what messages cost that come one by one, and what each waits."""
        tree = self.start()
        self.await_consumer()
        time.sleep(1)  # whatever it does once
        before = self._counted()
        watch, servers = Stopwatch(tree, 0), self._arena.servers_cpu_seconds()
        times = sorted(self.paced(messages))
        own = watch.cpu_per_1000(messages)
        servers = self._arena.servers_cpu_seconds() - servers
        tree.stop()  # a server's process counts its commits at the latest when it ends
        commits, wal = (now - then for now, then in zip(self._counted(), before, strict=True))
        return {
            "p50": statistics.median(times),
            "p99": times[int(len(times) * 0.99)],
            "light cpu": own,
            "light system": own + servers / messages * 1000,
            "commits": commits / messages,
            "wal": wal / messages,
        }

    def _counted(self) -> tuple[float, float]:
        """Return the database's commits and the server's bytes of WAL so far."""
        with psycopg.connect(self.database_url) as database:
            row = database.execute(_COUNTED).fetchone()
        assert row is not None
        return row

    def added_latency(self, messages: int, rate: float = RATE) -> list[float]:
        """Return milliseconds from publishing to the event's arrival, of each message."""
        self.start()
        self.await_consumer()
        return self.paced(messages, rate)

    def paced(self, messages: int, rate: float = RATE) -> list[float]:
        """Return milliseconds from publishing to the event's arrival, of each message."""
        published: dict[str, float] = {}
        times: list[float] = []
        channel = self._arena.channel

        def arrived(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            started = published[json.loads(body)["requestId"]]
            times.append((time.monotonic() - started) * 1000)
            channel.basic_ack(method.delivery_tag)

        tag = channel.basic_consume(COLLECTOR, arrived)
        due = time.monotonic() + 1.0
        for number in range(messages):
            channel.connection.process_data_events(0)
            while (left := due - time.monotonic()) > 0:
                channel.connection.process_data_events(left)
            due += 1 / rate
            request = request_number(number)
            published[request["requestId"]] = time.monotonic()
            channel.basic_publish(*self._contestant.message(request))
        end = time.monotonic() + 10
        while len(times) < messages:
            self._look_alive(end, "all events")
            channel.connection.process_data_events(0.05)
        channel.basic_cancel(tag)
        return times[len(times) // 10 :]  # the first open connections

    def await_consumer(self) -> None:
        """Return when the contestant consumes, with all that was started of it."""
        end = time.monotonic() + 30
        while self._arena.consumers(self._contestant.queue) < len(self._trees):
            self._look_alive(end, "a consumer")
            time.sleep(0.02)

    def await_events(self, wanted: int, seconds: float) -> int:
        """Return when so many events have come, and how many these are."""
        end = time.monotonic() + seconds
        while (count := self._arena.depth(COLLECTOR)) < wanted:
            self._look_alive(end, f"{wanted} events ({count} came)")
            time.sleep(0.05)
        return count

    def _look_alive(self, end: float, what: str) -> None:
        tree = self._trees[-1]
        if time.monotonic() > end or not tree.is_alive():
            words = tree.last_words()
            raise RuntimeError(f"{self._contestant.name}: waited in vain for {what}\n{words}")

    def _check(self, messages: int) -> None:
        """Stop the contestant; every message must have made one row, one event and one ack."""
        tree = self._trees[-1]
        code = tree.stop()
        with psycopg.connect(self.database_url) as database:
            row = database.execute(self._contestant.finished).fetchone()
        rows = row[0] if row else 0
        counts = (rows, self._arena.depth(COLLECTOR), self._arena.depth(self._contestant.queue))
        if counts != (messages, messages, 0) or code != 0:
            raise RuntimeError(
                f"{self._contestant.name}: of {messages} messages came rows, events, left: "
                f"{counts}; exit code {code}\n{tree.last_words()}"
            )


_COUNTED = """
SELECT xact_commit::float8, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8
  FROM pg_stat_database WHERE datname = current_database()
"""


def request_number(number: int) -> dict[str, Any]:
    """Return a request about a person of its own."""
    user = {"name": "张三", "idCard": id_card(number)}
    return {
        "requestId": f"bench-{number:08}",
        "personalSpec": {"checkType": 2, "personalUser": user},
        "source": "bench",
    }


def hold(arena: Arena, field: list[Contestant], length: Length) -> Figures:
    """Let all of them do each discipline, round by round."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with stand_in.instant() as at_once, stand_in.delayed(LATE) as late:
        for number in range(1, length.rounds + 1):
            turn = (number - 1) % len(field)
            # The order turns, so that nobody always runs on a machine that somebody warmed up.
            for contestant in field[turn:] + field[:turn]:
                row = figures[contestant.name]
                with arena.round(contestant, at_once, {}) as one:
                    told = one.work_off(length.messages)
                with arena.round(contestant, late, contestant.late) as one:
                    found = one.work_off(length.messages)
                told |= {"late": found["rate"], "late cpu": found["cpu"]}
                with arena.round(contestant, at_once, {}) as one:
                    told |= one.light_load(length.light_messages)
                for key, value in told.items():
                    row[key].append(value)
                last = ", ".join(f"{each.key} {told[each.key]:.{each.digits}f}" for each in FIGURES)
                print(f"round {number}, {contestant.name}: {last}", flush=True)
    return figures


def main() -> int:
    """Hold the contest and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="the table has their medians")
    parser.add_argument("--messages", type=int, default=6000, help="of each measurement")
    parser.add_argument("--light-messages", type=int, default=200, help="of the one at light load")
    parser.add_argument(
        "--only", action="append", help="ours and those whose names contain this; may be repeated"
    )
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="of our worker")
    parser.add_argument("--picture", type=Path, help="draw some of the figures as bars, SVG")
    given = parser.parse_args()
    length = Length(given.rounds, given.messages, given.light_messages)
    with tempfile.TemporaryDirectory() as directory, Servers({}) as servers:
        scratch = Path(directory)
        settings = dict(each.split("=", 1) for each in given.settings)
        field = [contestants.ours(servers, "ours", settings)]
        if given.only != ["ours"]:
            wanted = given.only or [""]
            others = contestants.peers(servers, "peers")
            field += [each for each in others if any(part in each.name for part in wanted)]
        figures = hold(Arena(servers, scratch / "contestants.log"), field, length)
    print("\n" + table(figures, FIGURES))
    for figure in FIGURES:
        if not leads(figures, figure):
            print(f"a peer leads: {figure.title}")
    if given.picture:
        given.picture.write_text(picture(figures, [each for each in FIGURES if each.key in DRAWN]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
