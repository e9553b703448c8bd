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

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, LiteralString

import pika
import psycopg
import typer
from typer import Argument, Option

from local_broker import Broker
from local_database import Database
from local_process import Workspace
from local_stack import Servers
from tests.bench import contestants, stand_in
from tests.bench.contestants import Contestant
from tests.bench.process_tree import ProcessTree, Stopwatch, cpu_seconds
from tests.bench.report import Figure, picture, table
from tests.bench.soak_load import id_card
from tests.e2e.harness import CHECKOUT, request

COLLECTOR = "bench.collector"
LATE = 0.3
"""Seconds that the late provider takes."""
RATE = 20.0
"""Messages per second at light load."""

FIGURES = (
    Figure("rate", "messages/s, instant", 0),
    Figure("cpu", "CPU s / 1,000, instant", 3),
    Figure("steady", "the same, after the first event", 3),
    Figure("system", "instant, with broker and database", 3),
    Figure("late", "messages/s, 300 ms, 256 in flight", 0),
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


class Arena:
    """The servers, and a channel of our own to them."""

    def __init__(self, servers: Servers, workspace: Workspace) -> None:
        assert isinstance(servers.broker, Broker)
        assert isinstance(servers.database, Database)
        both = {"broker": servers.broker, "database": servers.database}
        self.pids = {name: server.process.pid for name, server in both.items()}
        self.workspace = workspace
        self._servers = servers
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
        the_round = Round(self, contestant, environment, url)
        try:
            yield the_round
        finally:
            the_round.end()
            for queue in (COLLECTOR, contestant.queue):
                self.channel.queue_delete(queue)
            self._servers.database.drop_database(name)

    def servers_cpu_seconds(self) -> float:
        """Return user + system seconds so far of broker and database."""
        return sum(map(cpu_seconds, self.pids.values()))

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        """Return how many consumers a queue has."""
        return int(self.channel.queue_declare(queue, passive=True).method.consumer_count)


@dataclass(slots=True)
class Round:
    """One contestant at work."""

    arena: Arena
    contestant: Contestant
    environment: Mapping[str, str]
    database_url: str
    trees: list[ProcessTree] = field(default_factory=list)

    def start(self, checkout: Path = CHECKOUT) -> ProcessTree:
        """Start the contestant, or one process more of it."""
        command, workspace = self.contestant.command, self.arena.workspace
        tree = ProcessTree(command, self.environment, workspace, checkout)
        self.trees.append(tree)
        return tree

    def end(self) -> None:
        """Leave no process behind."""
        for tree in self.trees:
            tree.kill()

    def cpu_seconds(self) -> float:
        """Return user + system seconds so far of all that was started."""
        return sum(cpu_seconds(tree.pid) for tree in self.trees)

    def publish_backlog(self, messages: int, first: int = 0) -> None:
        """Publish so many requests."""
        self.publish(request_number(first + number) for number in range(messages))

    def publish(self, requests: Iterable[dict[str, Any]], exchange: str | None = None) -> None:
        """Publish fast, in one transaction."""
        channel = self.arena.channel.connection.channel()
        channel.tx_select()
        for each in requests:
            usual, *rest = self.contestant.message(each)
            channel.basic_publish(exchange or usual, *rest)
        channel.tx_commit()
        channel.close()

    def work_off(self, messages: int) -> dict[str, float]:
        """Return what a backlog of so many costs, and how fast it goes."""
        self.publish_backlog(messages)
        servers = self.arena.servers_cpu_seconds()
        tree = self.start()
        done = self.await_events(1, 30)
        watch = Stopwatch(tree, done)
        self.await_events(messages, 120)
        rate, steady = watch.rate(messages), watch.cpu_per_1000(messages)
        own = cpu_seconds(tree.pid)
        whole = own + self.arena.servers_cpu_seconds() - servers
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
        before = self.row(_COUNTED)
        watch, servers = Stopwatch(tree, 0), self.arena.servers_cpu_seconds()
        times = sorted(self.paced(messages))
        own = watch.cpu_per_1000(messages)
        servers = self.arena.servers_cpu_seconds() - servers
        tree.stop()  # a server's process counts its commits at the latest when it ends
        commits, wal = (now - then for now, then in zip(self.row(_COUNTED), before, strict=True))
        return {
            "p50": statistics.median(times),
            "p99": times[int(len(times) * 0.99)],
            "light cpu": own,
            "light system": own + servers / messages * 1000,
            "commits": commits / messages,
            "wal": wal / messages,
        }

    def row(self, query: LiteralString, *parameters: object) -> Any:
        """Return a query's only row."""
        with psycopg.connect(self.database_url) as database:
            return database.execute(query, parameters or None).fetchone()

    def paced(self, messages: int, rate: float = RATE) -> list[float]:
        """Return milliseconds from publishing to the event's arrival, of each message."""
        published: dict[str, float] = {}
        times: list[float] = []
        channel = self.arena.channel

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
            message = request_number(number)
            published[message["requestId"]] = time.monotonic()
            channel.basic_publish(*self.contestant.message(message))
        end = time.monotonic() + 10
        while len(times) < messages:
            self._look_alive(end, "all events")
            channel.connection.process_data_events(0.05)
        channel.basic_cancel(tag)
        return times[len(times) // 10 :]  # the first open connections

    def await_consumer(self) -> None:
        """Return when the contestant consumes, with all that was started of it."""
        end = time.monotonic() + 30
        while self.arena.consumers(self.contestant.queue) < len(self.trees):
            self._look_alive(end, "a consumer")
            time.sleep(0.02)

    def await_events(self, wanted: int, seconds: float) -> int:
        """Return when so many events have come, and how many these are."""
        end = time.monotonic() + seconds
        while (count := self.arena.depth(COLLECTOR)) < wanted:
            self._look_alive(end, f"{wanted} events ({count} came)")
            time.sleep(0.05)
        return count

    def _look_alive(self, end: float, what: str) -> None:
        tree = self.trees[-1]
        if time.monotonic() > end or not tree.is_alive():
            name, words = self.contestant.name, tree.log_tail()
            raise RuntimeError(f"{name}: waited in vain for {what}\n{words}")

    def _check(self, messages: int) -> None:
        """Stop the contestant; every message must have made one row, one event and one ack."""
        tree = self.trees[-1]
        tree.stop()
        (rows,) = self.row(self.contestant.finished)
        counts = (rows, self.arena.depth(COLLECTOR), self.arena.depth(self.contestant.queue))
        if counts != (messages, messages, 0) or tree.exit_code != 0:
            raise RuntimeError(
                f"{self.contestant.name}: of {messages} messages came rows, events, left: "
                f"{counts}; exit code {tree.exit_code}\n{tree.log_tail()}"
            )


# The database's commits and the server's bytes of WAL so far.
_COUNTED = """
SELECT xact_commit::float8, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8
  FROM pg_stat_database WHERE datname = current_database()
"""


def request_number(number: int) -> dict[str, Any]:
    """Return a request about a person of its own."""
    return request(f"bench-{number:08}", id_card(number), source="bench")


def hold(
    arena: Arena, entrants: list[Contestant], rounds: int, messages: int, light_messages: int
) -> Figures:
    """Let all of them do each discipline, round by round."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with stand_in.instant() as at_once, stand_in.delayed(LATE) as late:
        for number in range(1, rounds + 1):
            turn = (number - 1) % len(entrants)
            # The order turns, so that nobody always runs on a machine that somebody warmed up.
            for contestant in entrants[turn:] + entrants[:turn]:
                row = figures[contestant.name]
                with arena.round(contestant, at_once, {}) as one:
                    told = one.work_off(messages)
                with arena.round(contestant, late, contestant.late) as one:
                    found = one.work_off(messages)
                told |= {"late": found["rate"], "late cpu": found["cpu"]}
                with arena.round(contestant, at_once, {}) as one:
                    told |= one.light_load(light_messages)
                for key, value in told.items():
                    row[key].append(value)
                last = ", ".join(f"{each.key} {told[each.key]:.{each.digits}f}" for each in FIGURES)
                print(f"round {number}, {contestant.name}: {last}", flush=True)
    return figures


Settings = Annotated[list[str] | None, Argument(help="of our worker", metavar="NAME=VALUE")]


def main(
    settings: Settings = None,
    rounds: Annotated[int, Option(help="the table has their medians")] = 10,
    messages: Annotated[int, Option(help="of each measurement")] = 6000,
    light_messages: Annotated[int, Option(help="of the one at light load")] = 200,
    only: Annotated[list[str] | None, Option(help="ours and who is named so; may recur")] = None,
    drawn: Annotated[Path | None, Option("--picture", help="some of the figures, SVG")] = None,
) -> None:
    """Hold the contest and print its table."""
    with closing(Workspace("bench")) as workspace, Servers({}) as servers:
        tuned = dict(each.split("=", 1) for each in settings or ())
        entrants = [contestants.ours(servers, "ours", tuned)]
        if only != ["ours"]:
            others = contestants.peers(servers, "peers")
            entrants += [each for each in others if any(part in each.name for part in only or [""])]
        figures = hold(Arena(servers, workspace), entrants, rounds, messages, light_messages)
    print("\n" + table(figures, FIGURES))
    if drawn:
        drawn.write_text(picture(figures, [each for each in FIGURES if each.key in DRAWN]))


if __name__ == "__main__":
    typer.run(main)
