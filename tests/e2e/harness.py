"""The worker from outside: processes, messages, rows. Only commands run inside the test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pika
import psycopg

from local_broker import Broker
from local_ports import free_ports
from local_process import tied
from tests.e2e import in_process
from tests.e2e.forks import Forked

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "worker"]
REQUESTS, RESULTS, DEAD = "verification.requests", "verification.results", "verification.dead"
BULK, BULK_REQUESTS = "verification.bulk", "verification.requests.bulk"
RETRY_QUEUES = tuple(f"verification.retry.{delay}s" for delay in (1, 2, 3))
"""The delay queues that a stack has."""
OBSERVER = "observer"
"""What a stack's own session in the database is named."""
SETTINGS = {
    "AMQP_URL": "amqp://user:password@localhost:5672/v",
    "DATABASE_URL": "postgresql://user:password@localhost/v",
    "PROVIDER_MODE": "sandbox",
    "PROVIDER_URL": "http://localhost:8080/v1/personal",
    "PROVIDER_ACCESS_KEY": "SANDBOXACCESSKEY",
    "PROVIDER_SECRET_KEY": "sandbox-secret-key",
    "DIGEST_KEY": "a key of the tests, of 32 characters or more",
}
"""What a worker must be told; its addresses lead nowhere."""
ID_CARD = "11010519491231002X"
"""The ID number that examples use: a match in the sandbox."""


# Below pytest's own limit for a test. What does not come at all takes long to fail, and what a busy
# machine delays passes.
PATIENCE = 240.0


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Poll another process's state until it is true; fail after so many seconds.

    A look costs two processes a millisecond each: what does not come at once is looked for less.
    """
    end, pause = time.monotonic() + seconds, 0.01
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(pause)
        pause = min(pause * 1.2, 0.1)
    return value


def await_on_disk(broker: Broker, vhost: str, queue: str, seconds: float = PATIENCE) -> None:
    """Return when a quorum queue that was declared would survive `kill()`: to be called before.

    RabbitMQ (seen in 3.10.8) enters it in a file that is written up to half a second after the
    declaration is answered. A node killed before that comes back with a queue of this name
    that has no leader, for ever, and none of its confirmed messages.
    """
    # Erlang writes a binary behind the name; other names may begin with this one.
    name = f"{quote(vhost, safe='')}_{queue}".encode() + b"m\0\0\0"
    files, place = broker.directory.glob, "data/*/quorum/*/names.dets"
    until(lambda: any(name in each.read_bytes() for each in files(place)), seconds)


def request(
    request_id: str, id_card: str = ID_CARD, name: str = "张三", **more: object
) -> dict[str, Any]:
    """Return a two-factor request."""
    user = {"name": name, "idCard": id_card}
    spec = {"checkType": 2, "personalUser": user}
    return {"requestId": request_id, "personalSpec": spec, **more}


def as_user(url: str, name: str, password: str) -> str:
    """Return a URL with another user in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{name}:{quote(password)}@{host}").geturl()


def free_port() -> str:
    """Return a port for a worker's HTTP_PORT."""
    (port,) = free_ports(1)
    return str(port)


def run_program(
    *command: str, text: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run any program to its end, with these settings beside our own."""
    return subprocess.run(
        tied(command),
        env={**os.environ, **(environment or {})},
        cwd=CHECKOUT,
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass
class Process:
    """A command of the worker's; a thread keeps what it says, line by line: it never blocks."""

    popen: subprocess.Popen[str] | Forked
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @classmethod
    def start(
        cls,
        arguments: list[str],
        environment: dict[str, str],
        *,
        module: str = "worker",
        fork: bool = True,
    ) -> Process:
        """Start it, to end with us at the latest.

        It is forked where its imports are loaded, unless a new interpreter is the point.
        """
        whole = {**os.environ, **environment}
        popen: subprocess.Popen[str] | Forked
        if fork and "PYTHONPATH" not in environment:
            popen = Forked(module, arguments, whole)
        else:
            popen = subprocess.Popen(
                tied([sys.executable, "-m", module, *arguments]),
                env=whole,
                cwd=CHECKOUT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        return cls(popen)

    def _read(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    def said(self, words: str) -> str | None:
        """Return the first line with these words."""
        return next((line for line in self.lines if words in line), None)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return an event's log lines; fails where any line is no JSON: a traceback."""
        return [line for line in map(json.loads, list(self.lines)) if line["event"] == event]

    def consumes(self, queue: str) -> bool:
        """Tell whether it has begun to consume a queue."""
        whole = re.compile(rf"{re.escape(queue)}(?![.\w])")
        return any('"amqp.consuming"' in line and whole.search(line) for line in self.lines)

    def asked(self, path: str) -> tuple[int, str]:
        """Return the status and words of a probe such as /readyz; it was started with HTTP_PORT."""
        line = until(lambda: self.said("health.listening"))
        address = f"http://127.0.0.1:{json.loads(line)['port']}{path}"
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode().strip()

    def ready(self) -> tuple[int, str]:
        """Return what the probe /readyz says."""
        return self.asked("/readyz")

    def kill(self) -> None:
        """Kill -9."""
        self.popen.kill()
        self.ended()

    def stop(self, seconds: float = PATIENCE) -> int:
        """SIGTERM; return the exit code."""
        self.popen.terminate()
        return self.ended(seconds)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return the exit code; all that it said is read then."""
        code = self.popen.wait(seconds)
        self._reader.join()
        return code


@contextmanager
def sandbox(latency: float = 0.0, **settings: str) -> Iterator[SandboxProcess]:
    """Run the sandbox as a process of its own."""
    process = Process.start(["sandbox", "--port", "0", "--latency", str(latency)], settings)
    try:
        line = until(lambda: process.said("listening on"))
        yield SandboxProcess(process, re.findall(r"http://\S+", line)[0])
    finally:
        process.kill()


@dataclass
class SandboxProcess:
    """The provider's stand-in, and what it counted."""

    process: Process
    url: str

    def charges(self) -> dict[str, Any]:
        """Return the sandbox's counts."""
        return self._ask("GET", "/charges")

    def reset(self) -> None:
        """Set the counts to zero."""
        self._ask("POST", "/reset")

    def play(self, **scenario: object) -> None:
        """Let calls act by a scenario from now on; without arguments as their ID numbers say."""
        self._ask("PUT", "/scenario", json.dumps(scenario).encode())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no answer out meanwhile, however slow the machine is: it is frozen."""
        self.process.popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.popen.send_signal(signal.SIGCONT)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        address = self.url.removesuffix("/v1/personal") + path
        order = urllib.request.Request(address, body, method=method)
        with urllib.request.urlopen(order, timeout=60) as answer:
            counts: dict[str, Any] = json.load(answer)
            return counts


class Stack:
    """A vhost, a database, a sandbox, and workers between them."""

    def __init__(self, amqp_url: str, database_url: str, provider: SandboxProcess) -> None:
        self.amqp_url = amqp_url
        self.database_url = database_url
        self.provider = provider
        self.environment = {
            **SETTINGS,
            "AMQP_URL": amqp_url,
            "DATABASE_URL": database_url,
            "PROVIDER_URL": provider.url,
            "RETRY_DELAYS": "1s,2s,3s",
            "LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",
        }
        self.workers: list[Process] = []
        self.forks = True
        """Whether its workers may be forked (see `Process.start`)."""
        self._connection: Any = None
        self._channel: Any = None
        self._session: psycopg.Connection[dict[str, Any]] | None = None

    def start_worker(self, **settings: str) -> Process:
        """Start a worker and wait until it consumes."""
        process = self.launch_worker(**settings)
        until(lambda: process.consumes(REQUESTS))
        return process

    def launch_worker(self, **settings: str) -> Process:
        """Start a worker and wait for nothing."""
        process = Process.start(["run"], {**self.environment, **settings}, fork=self.forks)
        self.workers.append(process)
        return process

    def command(
        self, *arguments: str, text: str = "", code: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside this process; where a code is given, it must end with that."""
        done = in_process.run(arguments, self.environment, text)
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done

    def document(self, *arguments: str, code: int = 0, text: str = "") -> Any:
        """Return what a command says in JSON, when it has ended with this code."""
        return json.loads(self.command(*arguments, "--json", text=text, code=code).stdout)

    def refused(self, *arguments: str, text: str = "") -> str:
        """Return the one line with which a command must refuse, before it has done anything."""
        done = self.command(*arguments, text=text, code=2)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return line

    # The broker's side

    @property
    def vhost(self) -> str:
        """The name of the vhost."""
        return unquote(urlsplit(self.amqp_url).path.removeprefix("/"))

    @property
    def channel(self) -> Any:
        """A channel of our own, confirms on."""
        if self._channel is None:
            parameters = pika.URLParameters(self.amqp_url)
            parameters.heartbeat = 0
            self._connection = pika.BlockingConnection(parameters)
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def collect_events(self, *, quorum: bool = False) -> None:
        """Keep every event from now on in a queue of ours."""
        arguments = {"x-queue-type": "quorum"} if quorum else None
        self.channel.queue_declare("collector", durable=True, arguments=arguments)
        self.channel.queue_bind("collector", RESULTS, "#")

    def publish(
        self, message: dict[str, Any] | bytes, *, exchange: str = REQUESTS, **properties: Any
    ) -> None:
        """Publish one request and wait for its confirm."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.channel.basic_publish(
            exchange, "test", body, pika.BasicProperties(delivery_mode=2, **properties)
        )

    def publish_many(self, messages: Iterable[dict[str, Any]], *, exchange: str = REQUESTS) -> None:
        """Publish fast, over a transaction instead of confirms."""
        channel = self.channel.connection.channel()
        channel.tx_select()
        for message in messages:
            body = json.dumps(message).encode()
            channel.basic_publish(exchange, "test", body, pika.BasicProperties(delivery_mode=2))
        channel.tx_commit()
        channel.close()

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def left_in(self, queue: str) -> int:
        """Return how many messages stand in a queue when the broker has back what a tool held."""
        until(lambda: not self.consumers(queue))
        return self.depth(queue)

    def consumers(self, queue: str = REQUESTS) -> int:
        """Return how many consumers a queue has."""
        return int(self.channel.queue_declare(queue, passive=True).method.consumer_count)

    def waiting(self) -> int:
        """Return how many messages wait to be worked on; those that a worker holds do not count."""
        return sum(map(self.depth, (REQUESTS, *RETRY_QUEUES)))

    def take(self, queue: str = "collector") -> list[tuple[Any, Any, bytes]]:
        """Take everything that waits in a queue: (method, properties, body)."""
        taken: list[tuple[Any, Any, bytes]] = []
        if queue == DEAD:
            self.left_in(queue)  # a worker's chore holds them for a moment in each minute
        if (many := self.depth(queue)) > 20:  # a way there and back for each would be dear
            for found in self.channel.consume(queue, inactivity_timeout=60):
                assert found[0] is not None, f"{len(taken)} of {many} messages came"
                taken.append(found)
                # A quorum queue delivers no more than 2,000 that are not acknowledged.
                if len(taken) % 1_000 == 0 or len(taken) == many:
                    self.channel.basic_ack(found[0].delivery_tag, multiple=True)
                if len(taken) == many:
                    break
            self.channel.cancel()
        while (found := self.channel.basic_get(queue, auto_ack=True))[0] is not None:
            taken.append(found)
        return taken

    def events(self) -> list[dict[str, Any]]:
        """Take the bodies of all events that were collected."""
        return [json.loads(body) for _, _, body in self.take()]

    # The database's side

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Return a query's rows, as the role that people have."""
        try:
            return self._reader().execute(query, parameters).fetchall()
        except psycopg.OperationalError:
            if self._session is not None and not self._session.closed:
                raise
        # The server went away since the last query, and took the session along.
        return self._reader().execute(query, parameters).fetchall()

    def _reader(self) -> psycopg.Connection[dict[str, Any]]:
        """One session for all queries: who polls with a session each keeps a core busy."""
        if self._session is None or self._session.closed:
            self._session = psycopg.connect(
                self.database_url,
                application_name=OBSERVER,
                autocommit=True,
                row_factory=psycopg.rows.dict_row,
            )
            self._session.execute("SET ROLE verification_reader")
        return self._session

    def results(self) -> dict[str, dict[str, Any]]:
        """Return all results by request id."""
        return {
            row["request_id"]: row for row in self.rows("SELECT * FROM verification_v1.results")
        }

    def outcomes(self) -> dict[str, str]:
        """Return all outcomes by request id."""
        return {name: row["outcome"] for name, row in self.results().items()}

    def have_answered(self, *messages: dict[str, Any], **properties: Any) -> None:
        """Publish requests, and return when their events are marked as sent."""
        for message in messages:
            self.publish(message, **properties)
        until(lambda: self.is_sent(*(each["requestId"] for each in messages)))

    def is_sent(self, *request_ids: str) -> bool:
        """Tell whether the events of these requests are marked as sent."""
        query = """SELECT count(event_sent_at) AS n FROM verification_v1.results
                    WHERE request_id = ANY(%s)"""
        return bool(self.rows(query, list(request_ids))[0]["n"] == len(request_ids))

    def unsent(self) -> list[str]:
        """Return the ids of the results whose event is not marked as sent."""
        query = "SELECT request_id FROM verification_v1.results WHERE event_sent_at IS NULL"
        return [row["request_id"] for row in self.rows(query)]

    def as_owner(self, statement: str, *parameters: object) -> int:
        """Run a statement that people may not; return how many rows it met."""
        with psycopg.connect(self.database_url) as database:
            return database.execute(statement, parameters or None).rowcount

    def pass_minutes(self, minutes: int) -> None:
        """Let what happened have happened so many minutes earlier."""
        self.as_owner(
            """UPDATE verification.request SET lease_until = lease_until - ago.minutes,
                      completed_at = completed_at - ago.minutes
                 FROM (SELECT make_interval(mins => %s)) AS ago(minutes)""",
            minutes,
        )

    def insert_unsent(self, *request_ids: str, minutes: int = 5) -> None:
        """Write requests that ended so many minutes ago, and whose worker died before the event."""
        self.as_owner(
            r"""INSERT INTO verification.request (request_id, fingerprint, source, mode, state,
                 outcome, charged, reply_to, completed_at)
               SELECT each, '\x00', 'default', 'sandbox', 'done', 'no_record', 'no', 'to.me',
                 now() - make_interval(mins => %s) FROM unnest(%s::text[]) AS each""",
            minutes,
            list(request_ids),
        )

    def count(self, view: str = "results") -> int:
        """Count a view's rows."""
        query = f"SELECT count(*) AS n FROM verification_v1.{view}"  # noqa: S608
        return int(self.rows(query)[0]["n"])

    def forget_connection(self) -> None:
        """Close our own connection; the next use of the channel makes another."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            connection.close()

    def close(self) -> None:
        """Stop what still runs."""
        for worker in self.workers:
            worker.kill()
        self.forget_connection()
        if self._session is not None:
            self._session.close()
