"""The demonstration behind `deploy/local/run`: everything started, shown, checked and stopped.

`demo_messages.json` has its messages: the people are invented, their ID numbers the sandbox's magic
ones, `expected` is an event's outcome, charge, calls and error, and its row's where it has one.
"""

import signal

if __name__ == "__main__":
    # Before imports of half a second: nothing is started, Ctrl-C may end us without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import json
import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import psycopg
import requests
from psycopg import errors
from psycopg.rows import dict_row
from rich.console import Console

from local_errors import NotOurs, StackError, StartFailed
from local_management import DIRECTLY
from local_process import Process, Workspace, run
from local_stack import Servers
from worker.amqp.blocking import BlockingPublisher, opened, queue_counts
from worker.amqp.broker_errors import AmqpError, NotProvisioned
from worker.cli.tables import print_table
from worker.contract.names import REQUESTS, RESULTS
from worker.core.delivery import Publication
from worker.settings import Settings

# It takes 12 s; a machine with two cores and thirty busy processes has needed 90.
_LIMIT_SECONDS = 240

# What all messages together cost: of the calls in doubt the sandbox charges one.
_BILL = {"calls": 7, "charges": 5}

# The slowest message waits 1 s for its second attempt, 5 s with the standard delays.
_EVENT_SECONDS = 30.0
_LOOK_SECONDS = 0.1

_URLS = {"AMQP_URL": ("amqp://", "amqps://"), "DATABASE_URL": ("postgresql://",)}

# Of the sandbox, and of the console.
_ADDRESS = re.compile(r'(?:listening on |"url":")(http[^\s"]+)')

_RESULTS = """\
SELECT request_id, outcome, masked_name AS name, charged, calls, error_kind
  FROM verification_v1.results
 WHERE source = '{run}'
 ORDER BY requested_at, request_id;"""

_CALLS = """\
SELECT request_id, call_number AS call, class, http_status AS http, charged, milliseconds AS ms
  FROM verification_v1.calls
 WHERE starts_with(request_id, '{run}-')
 ORDER BY started_at, request_id"""

_STAY = """
verification-worker submit --check-type 2 \\
  --name 张三 --id-card 11010519491231002X
verification-worker explain {run}-in-doubt    # its story, call by call
verification-worker status
verification-worker dead-letters list
verification-worker sandbox --table    # other ID numbers, other answers
PGOPTIONS='-c role=verification_reader' psql "$DATABASE_URL" \\
  -c 'SELECT request_id, outcome, charged, calls FROM verification_v1.results'"""

_NEXT = """\
./deploy/local/run --stay    # keeps all this up, to try every command on it
./deploy/local/test          # all checks and tests
README.md                    # what it promises, and the way to production"""

Row = dict[str, Any]

_console = Console(highlight=False, markup=False)
_started = time.monotonic()


def _title(words: str) -> None:
    _console.print(f"\n{words}", style="bold", soft_wrap=True)


def _step(what: str, words: str) -> None:
    """Say what has just been done, with the seconds since the start."""
    print(f"{time.monotonic() - _started:5.1f} s  {what:<11}{words}")


def _lines(text: str) -> None:
    """Print lines that people copy."""
    print(*(f"  {line}".rstrip() for line in text.splitlines()), sep="\n")


def show(rows: Sequence[Row]) -> None:
    """Print rows that all have the keys of the first one, as the product's commands do."""
    names = tuple(rows[0]) if rows else ("(no rows)",)
    print()
    print_table(names, [tuple(row.values()) for row in rows], as_json=False)


class Stage:
    """All that runs, started in order and ended in the reverse order by `close()`."""

    def __init__(self) -> None:
        self.servers = Servers()
        self.worker: Process | None = None
        self._exits = ExitStack()
        self._exits.callback(self.servers.close)
        self._workspace = Workspace("demonstration")
        self._exits.callback(self._workspace.close)
        self.close = self._exits.close
        # Without the worker's settings: a CONCURRENCY of the shell stays out.
        settings = {name.upper() for name in Settings.model_fields}
        settings |= {f"{name}_FILE" for name in settings}
        self.environment = {k: value for k, value in os.environ.items() if k not in settings} | {
            "PROVIDER_MODE": "sandbox",
            "PROVIDER_ACCESS_KEY": f"DEMO{secrets.token_hex(8).upper()}",
            "PROVIDER_SECRET_KEY": secrets.token_hex(16),
            "DIGEST_KEY": secrets.token_hex(32),
        }

    def start(self) -> None:
        """Start everything; return when the worker consumes. Raises StackError."""
        sandbox = self.service("sandbox", "sandbox", "--port", "0")  # while the servers come up
        self.servers.start()
        broker, database = self.servers.broker, self.servers.database
        self.environment |= self.servers.environment()
        if database.private:
            self.environment["DATABASE_URL"] = database.create_database("verification")
        if broker.private:  # where nobody wants to watch the standard 5 s pass
            self.environment["RETRY_DELAYS"] = "1s,5s"
        for server, key in ((database, "DATABASE_URL"), (broker, "AMQP_URL")):
            parts = urlsplit(self.environment[key])  # without the user and the password
            whose = "private" if server.private else "as the environment names it"
            _step(server.name, f"{parts.hostname}:{parts.port}{parts.path}, {whose}")
        _step("schema", self.command("alembic", "upgrade", "head")[0])
        _step("topology", self.command("verification-worker", "topology", "apply")[0])
        self.environment["PROVIDER_URL"] = url = _address(sandbox)
        _step("sandbox", f"{url}, a stand-in for JD")
        self.worker = worker = self.service("worker", "run")
        worker.wait_until(lambda: '"amqp.consuming"' in worker.log())
        _step("worker", f"ready; its log: {self._workspace.directory / 'worker.log'}")

    def is_working(self) -> bool:
        """Tell whether the worker is alive."""
        return self.worker is not None and self.worker.is_alive()

    def command(self, program: str, *arguments: str) -> tuple[str, str]:
        """Run a command of the product; return it and its output. Raises StackError."""
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        said = run(command, self.environment, Path(__file__).resolve().parents[2])
        return " ".join((program, *arguments)), said.rstrip()

    def stop(self) -> None:
        """Stop everything in order. Raises StackError where the worker does not end well."""
        if self.worker is not None:
            self.worker.stop()
            if self.worker.exit_code != 0:
                raise StackError(f"the worker ended with code {self.worker.exit_code}")
            _step("worker", "finished its work after SIGTERM and exited 0")
        self.close()
        _step("the rest", "stopped; no process and no file is left")

    def service(self, name: str, *arguments: str) -> Process:
        """Start a command of the worker's that goes on until it is ended."""
        return Process(
            name,
            [str(Path(sys.executable).with_name("verification-worker")), *arguments],
            workspace=self._workspace,
            environment=self.environment,
            ending=signal.SIGTERM,
        )


def _address(service: Process) -> str:
    """Return the address that a service says it can be found at, once it does."""
    service.wait_until(lambda: _ADDRESS.search(service.log()) is not None)
    return str(_ADDRESS.findall(service.log())[0])


def messages(run: str) -> list[Row]:
    """Return all messages; `run` is their source and their ids' prefix."""
    text = Path(__file__).with_name("demo_messages.json").read_text(encoding="utf-8")
    return [{**message, "id": f"{run}-{message['name']}"} for message in json.loads(text)]


def _publication(run: str, message: Row) -> Publication:
    request = {
        "requestId": f"{run}-{message.get('same_id_as', message['name'])}",
        "source": run,
        "personalSpec": {"checkType": 2, "personalUser": message.get("user")},
        "expiresAt": message.get("expiresAt"),
    }
    body = json.dumps(request, ensure_ascii=False) if "user" in message else "{"
    reply_to = f"{run}.{message['reply_to']}" if "reply_to" in message else None
    ids = (message["id"], message["id"])
    return Publication(REQUESTS, "demonstration", body.encode(), *ids, reply_to=reply_to)


def _exchange(url: str, run: str, is_worth_it: Callable[[], bool]) -> list[Row]:
    """Publish all messages, and return their events as they came, from a queue of our own.

    All have come, or none more for 30 s, or it is in vain. In ids and routing keys of the events is
    not what all have in common: a table of 80 columns has no room for it.
    """
    first, *_ = sent = messages(run)
    # The repeat and the conflict find the request answered: no wait, no chance.
    now = [_publication(run, each) for each in sent if "same_id_as" not in each]
    later = [_publication(run, each) for each in sent if "same_id_as" in each]
    missing = {each["id"] for each in sent}
    events: list[Row] = []
    with opened(url, "demonstration") as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, RESULTS, "#")
        publisher = BlockingPublisher(connection)
        publisher.publish(now, lambda: None)
        deadline = time.monotonic() + _EVENT_SECONDS
        arrivals = channel.consume(queue, auto_ack=True, inactivity_timeout=_LOOK_SECONDS)
        while missing and is_worth_it() and time.monotonic() < deadline:
            method, properties, body = next(arrivals)
            if method is None or not str(properties.correlation_id).startswith(f"{run}-"):
                continue  # nothing yet, or another system's: the queue is bound to everything
            event = json.loads(body)
            if properties.correlation_id == first["id"] in missing:
                publisher.publish(later, lambda: None)
            missing.discard(properties.correlation_id)
            events.append(
                {
                    "message": properties.correlation_id.removeprefix(run),
                    "outcome": event["outcome"],
                    "routing key": method.routing_key.removeprefix(run),
                    "charged": event["charged"],
                    "calls": event["calls"],
                    "error_kind": event["error"] and event["error"]["kind"],
                    "event_id": event["eventId"],
                }
            )
    return events


def problems(run: str, events: Sequence[Row], results: Sequence[Row], billed: Row) -> Iterator[str]:
    """Yield a sentence for everything that is not as it must be."""
    sent = messages(run)
    by_message = {f"{run}{event['message']}": event for event in events}
    rows = {row["request_id"]: row for row in results}
    for message in sent:
        found = {"event": by_message.get(message["id"])}
        if message.get("row", True):
            found["row"] = rows.get(message["id"])
        for what, facts in found.items():
            said = facts and [facts[n] for n in ("outcome", "charged", "calls", "error_kind")]
            if said != message["expected"]:
                yield f"{message['id']}: the {what} says {said}, not {message['expected']}"
    twins = (event for event in events if event["message"] in ("-match", "-repeated"))
    if len({event["event_id"] for event in twins}) > 1:
        yield "the repeated request got another eventId than the first one"
    if len(events) > len(sent):
        yield f"{len(events)} events came for {len(sent)} messages"
    if (bill := {name: billed[name] for name in _BILL}) != _BILL:
        yield f"the bill has {bill}, not {_BILL}"


def _demonstrate(stage: Stage) -> str:
    """Start everything, exchange the messages, show and check what came of them.

    Returns the source that all of this run's messages have. Raises StackError.
    """
    _title("The verification worker at work: starting what it needs")
    with _console.status("RabbitMQ takes five seconds"):
        if not stage.servers.broker.private:
            _refuse_queue_in_use(stage.servers.broker.url)
        stage.start()
    run = f"demo-{secrets.token_hex(3)}"
    sent = messages(run)
    _title(f"Publishing {len(sent)} messages to the exchange verification.requests")
    show([{"message": each["id"], "what happens": each["story"]} for each in sent])
    with _console.status("waiting for the result events"):
        events = _exchange(stage.environment["AMQP_URL"], run, stage.is_working)
    found = list(_look_at_all(stage, run, events))
    if not stage.is_working():
        found.insert(0, "the worker has ended by itself")
    if found:
        raise StackError("\n".join(("not all is as it must be:", *found)))
    _title(f"Checked: all {len(sent)} messages led to what they must, in rows, events and calls")
    return run


def _look_at_all(stage: Stage, run: str, events: Sequence[Row]) -> Iterator[str]:
    """Show what came of the messages, and yield what is not as it must be."""
    reader = "as verification_reader"
    url = stage.environment["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as database:
        try:
            database.execute("SET ROLE verification_reader")
        except errors.InsufficientPrivilege:
            reader = "as the user of DATABASE_URL, who may not SET ROLE verification_reader"
        results = database.execute(_RESULTS.format(run=run).encode()).fetchall()
        calls = database.execute(_CALLS.format(run=run).encode()).fetchall()
    _title(f"Results by SQL, read {reader}")
    _lines(f"\n{_RESULTS.format(run=run)}")
    show(results)
    _title(f"Events on verification.results, without {run} in ids and routing keys")
    show([{name: event[name] for name in event if name != "event_id"} for event in events])
    _title("Calls to the provider, as verification_v1.calls has them")
    show(calls)
    counts = urljoin(stage.environment["PROVIDER_URL"], "/charges")
    billed = requests.get(counts, timeout=2, proxies=DIRECTLY).json()
    yield from problems(run, events, results, billed)
    # Charges agree with or without those in doubt.
    answers = [call["charged"] for call in calls]
    certain, perhaps = answers.count("yes"), answers.count("unknown")
    agree = len(calls) == billed["calls"] and 0 <= billed["charges"] - certain <= perhaps
    _lines(
        f"\nthe sandbox's bill:   {billed['calls']} calls, {billed['charges']} charged\n"
        f"the worker's ledger:  {len(calls)} calls, {certain} charged, {perhaps} perhaps: "
        f"{'they agree' if agree else 'THEY DISAGREE'}"
    )
    if not agree:
        yield "the sandbox and the ledger count differently"
    # By the product's own command; a broker that is not ours is left without the dead letter.
    command = ("verification-worker", "dead-letters")
    words, shown = stage.command(*command, "show", f"{run}-unreadable")
    _title("The dead letter in verification.dead")
    _lines(f"\n{words}\n\n{shown}")
    if "not_json" not in shown:
        yield "the unreadable message is not among the dead letters with the reason not_json"
    if not stage.servers.broker.private:
        stage.command(*command, "drop", "--yes", "--request-id", f"{run}-unreadable")


def _refuse_queue_in_use(url: str) -> None:
    """Raise NotOurs where somebody works with this broker's request queue already.

    Their worker would send invented people to the provider, and ours would answer their requests
    from the sandbox.
    """
    try:
        with opened(url, "demonstration") as connection:
            waiting, consumers = queue_counts(connection, REQUESTS)
    except NotProvisioned:  # there is no such queue yet
        return
    except AmqpError as error:
        raise StackError(f"the broker of AMQP_URL cannot be used: {error}") from error
    if waiting or consumers:
        raise NotOurs(
            f"the queue {REQUESTS} of AMQP_URL is in use ({consumers} consumers, "
            f"{waiting} messages): give the demonstration a vhost of its own"
        )


def _stay(stage: Stage, run: str) -> None:
    """Say how to use what runs, and return at Ctrl-C. Raises StackError if the worker ends."""
    console = stage.service("console", "console", "--port", "0", "--allow-actions")
    _title(f"Everything stays up until Ctrl-C. To look at it: {_address(console)}")
    _lines(f"\nIn another terminal:\n\nexport PATH={shlex.quote(sys.prefix)}/bin:$PATH")
    for name, value in stage.environment.items():
        if os.environ.get(name) != value:  # what a person's shell lacks
            _lines(f"export {name}={shlex.quote(value)}")
    _lines(_STAY.format(run=run))
    try:
        while stage.is_working():
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return
    raise StackError("the worker has ended by itself")


def _act(stage: Stage, *, stay: bool) -> int:
    try:
        signal.alarm(_LIMIT_SECONDS)
        run = _demonstrate(stage)
        signal.alarm(0)
        if stay:
            _stay(stage, run)
        _title("Stopping")
        stage.stop()
    except NotOurs as refusal:
        print(f"run: {refusal}", file=sys.stderr)
        return 2
    except (StackError, AmqpError, psycopg.Error, OSError) as error:
        signal.alarm(0)
        print(f"run: {str(error).strip() or type(error).__name__}", file=sys.stderr)
        # A server that does not start has its own log in its words.
        if stage.worker is not None and not isinstance(error, StartFailed):
            print(f"The end of the worker's log:\n{stage.worker.log_tail()}", file=sys.stderr)
        return 1
    if not stay:
        _title("What next")
        _lines(_NEXT)
    return 0


def _interrupt(*_: object) -> NoReturn:
    """Break off what is under way, once: `timeout` sends SIGINT twice."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _ring(*_: object) -> NoReturn:
    raise StackError(f"not done after {_LIMIT_SECONDS} s: something hangs")


def main(arguments: Sequence[str]) -> int:
    """Demonstrate, and return the exit code; `deploy/local/run` has checked the arguments."""
    for name, beginnings in _URLS.items():
        if not os.environ.get(name, beginnings[0]).startswith(beginnings):
            print(f"run: {name} must begin with {' or '.join(beginnings)}", file=sys.stderr)
            return 2
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGALRM, _ring)
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without Chinese shows ? instead
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    try:
        with closing(Stage()) as stage:
            return _act(stage, stay="--stay" in arguments)
    except KeyboardInterrupt:
        print("\ninterrupted: everything is stopped", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
