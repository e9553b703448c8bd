"""The contest: our worker and its peers do the same durable job in turn, on the same servers.

    ./deploy/local/bench

Each round gives every contestant an empty database and a backlog of its own, and counts at the end
that rows = events = messages. Printed are the medians of the rounds, and ratios to our own row:
figures of one run are comparable with each other and with nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

from local_broker import Broker
from local_database import Database
from local_stack import Servers
from tests.bench import contestants, stand_in
from tests.bench.process_tree import ProcessTree, Stopwatch
from tests.bench.report import Column, leads, table
from tests.bench.soak_load import id_card
from tests.e2e.harness import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.bench.contestants import Contestant

COLLECTOR = "bench.collector"
LATE = 0.3
"""Seconds that the late provider takes."""
RATE = 20.0
"""Messages per second at light load."""

COLUMNS = (
    Column("cpu", "CPU s / 1,000", 3, best=min),
    Column("instant", "msg/s, instant", 0, best=max),
    Column("late", "msg/s, 300 ms", 0, best=max),
    Column("p50", "added p50, ms", 1, best=min),
    Column("p99", "added p99, ms", 1, best=min),
    Column("memory", "PSS, MB", 0, best=min),
)
Figures = dict[str, dict[str, list[float]]]
"""By contestant and column, one of each round."""


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

    def start(self) -> ProcessTree:
        """Start the contestant, or one process more of it."""
        self._trees.append(ProcessTree(self._contestant.command, self._environment, self._log))
        return self._trees[-1]

    def end(self) -> None:
        """Leave no process behind."""
        for tree in self._trees:
            tree.kill()

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

    def work_off(self, messages: int) -> tuple[float, float, float]:
        """Return messages per second, CPU seconds per 1,000 and PSS of a backlog of so many."""
        self.publish_backlog(messages)
        tree = self.start()
        done = self.await_events(1, 30)
        watch = Stopwatch(tree, done)
        self.await_events(messages, 120)
        rate, cpu = watch.rate(messages), watch.cpu_per_1000(messages)
        memory = tree.pss()
        self._check(messages)
        return rate, cpu, memory / 1e6

    def added_latency(self, messages: int, rate: float = RATE) -> list[float]:
        """Return milliseconds from publishing to the event's arrival, of each message."""
        self.start()
        self.await_consumer()
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
        """Return when the contestant consumes."""
        end = time.monotonic() + 30
        while not self._arena.consumers(self._contestant.queue):
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
            # The order turns, so that nobody always runs on a machine that somebody warmed up.
            for contestant in field[number - 1 :] + field[: number - 1]:
                row = figures[contestant.name]
                with arena.round(contestant, at_once, {}) as one:
                    rate, cpu, memory = one.work_off(length.messages)
                row["instant"].append(rate)
                row["cpu"].append(cpu)
                row["memory"].append(memory)
                with arena.round(contestant, late, contestant.late) as one:
                    row["late"].append(one.work_off(length.messages)[0])
                with arena.round(contestant, at_once, {}) as one:
                    times = sorted(one.added_latency(length.light_messages))
                row["p50"].append(statistics.median(times))
                row["p99"].append(times[int(len(times) * 0.99)])
                last = ", ".join(
                    f"{column.title} {row[column.key][-1]:.{column.digits}f}" for column in COLUMNS
                )
                print(f"round {number}, {contestant.name}: {last}", flush=True)
    return figures


def main() -> int:
    """Hold the contest and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="the table has their medians")
    parser.add_argument("--messages", type=int, default=4000, help="of each measurement")
    parser.add_argument("--light-messages", type=int, default=200, help="of the one at light load")
    parser.add_argument("--only", help="contestants whose names contain this, and ours")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="of our worker")
    parser.add_argument("--picture", type=Path, help="write the table as a picture, SVG or PNG")
    given = parser.parse_args()
    length = Length(given.rounds, given.messages, given.light_messages)
    with tempfile.TemporaryDirectory() as directory, Servers({}) as servers:
        scratch = Path(directory)
        settings = dict(each.split("=", 1) for each in given.settings)
        field = [contestants.ours(servers, "ours", settings)]
        if given.only != "ours":
            others = contestants.peers(servers, "peers")
            field += [each for each in others if (given.only or "") in each.name]
        figures = hold(Arena(servers, scratch / "contestants.log"), field, length)
    medians = {
        name: {key: statistics.median(values) for key, values in row.items()}
        for name, row in figures.items()
    }
    print("\n" + table(medians, COLUMNS))
    for column in COLUMNS:
        if not leads(medians, column):
            print(f"a peer leads: {column.title}")
    if given.picture:
        draw_picture(medians, given.picture)
    return 0


def draw_picture(medians: Mapping[str, Mapping[str, float]], picture: Path) -> None:
    """Have the peers' virtualenv draw, which has the library for it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as figures:
        titles = {each.key: each.title for each in COLUMNS}
        json.dump({"medians": medians, "titles": titles}, figures)
        figures.flush()
        command = [str(contestants.PEERS_PYTHON), "-m", "tests.bench.picture"]
        subprocess.run([*command, figures.name, str(picture)], cwd=CHECKOUT, check=True)


if __name__ == "__main__":
    sys.exit(main())
