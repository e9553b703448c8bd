"""The local stack itself: what the demonstration and every other test stand on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pika
import psutil
import psycopg
import pytest

import local_broker
import local_database
import local_stack
from local_broker import Broker
from local_database import Database
from local_errors import NotOurs, StartFailed
from local_install import missing_packages
from local_management import ForeignBroker, Management
from local_ports import LOOPBACK, free_ports, speaks_amqp
from local_stack import Servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROGRAM = Path(local_stack.__file__)

pytestmark = [
    pytest.mark.usefixtures("own_servers"),
    pytest.mark.skipif(
        bool(missing_packages({})), reason="the servers' programs are not installed"
    ),
]


@pytest.fixture(scope="module")
def private() -> Iterator[Servers]:
    """Servers to kill: private ones, whatever AMQP_URL and DATABASE_URL say."""
    with Servers({}) as running:
        yield running


@pytest.fixture
def broker(private: Servers) -> Broker:
    assert isinstance(private.broker, Broker)
    return private.broker


@pytest.fixture
def database(private: Servers) -> Database:
    assert isinstance(private.database, Database)
    return private.database


def _until(is_true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for other processes, which can tell us nothing: by looking, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.02)


def _run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def _channel(url: str) -> Any:
    return pika.BlockingConnection(pika.URLParameters(url)).channel()


def test_a_confirmed_message_survives_kill_nine(broker: Broker) -> None:
    url = broker.create_vhost("survives")
    channel = _channel(url)
    channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", "kept", b"one", persistent, mandatory=True)

    broker.await_on_disk("survives", "kept")
    broker.kill()
    with pytest.raises(pika.exceptions.AMQPError):
        channel.connection.process_data_events(time_limit=5)
    broker.start()

    again = _channel(url)
    with closing(again.connection):
        for _, _, body in again.consume("kept", auto_ack=True, inactivity_timeout=30):
            assert body == b"one"
            break


def test_a_vhost_is_gone_with_its_queues_once_it_is_deleted(broker: Broker) -> None:
    channel = _channel(broker.create_vhost("short/lived"))
    with closing(channel.connection):
        channel.queue_declare("queue")
    assert broker.queues("short/lived") == {"queue": 0}

    broker.delete_vhost("short/lived")
    broker.delete_vhost("short/lived")

    channel = _channel(broker.create_vhost("short/lived"))
    with closing(channel.connection):
        assert broker.queues("short/lived") == {}


def test_a_paused_broker_answers_nobody_until_it_is_resumed(broker: Broker) -> None:
    port = pika.URLParameters(broker.url).port
    broker.pause()
    try:
        assert not speaks_amqp(port)
    finally:
        broker.resume()
    assert speaks_amqp(port)


def test_a_committed_row_survives_kill_nine(database: Database) -> None:
    url = database.create_database("survives")
    _run(url, "CREATE TABLE kept AS SELECT 42 AS answer")

    database.kill()
    database.start()

    assert _run(url, "SELECT answer FROM kept") == [(42,)]


def test_a_database_is_a_copy_of_its_template(database: Database) -> None:
    _run(database.create_database("original"), "CREATE TABLE kept AS SELECT 42 AS answer")

    copy = database.create_database("copy", template="original")
    assert _run(copy, "SELECT answer FROM kept") == [(42,)]

    database.drop_database("copy")
    database.drop_database("copy")
    assert _run(database.url, "SELECT 1 FROM pg_database WHERE datname = 'copy'") == []


def test_commits_are_as_durable_as_in_production(database: Database) -> None:
    names = ("fsync", "full_page_writes", "synchronous_commit")
    assert [_run(database.url, f"SHOW {name}") for name in names] == [[("on",)]] * 3


def test_a_database_that_cannot_start_shows_the_end_of_its_log() -> None:
    with Database() as database:
        database.stop()
        settings = database.directory / "data" / "postgresql.auto.conf"
        settings.write_text("no_such_setting = 1\n")
        with pytest.raises(StartFailed, match="no_such_setting"):
            database.start()


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_broker, "_CONFIGURATION", "no_such_setting = 1\n")
    with pytest.raises(StartFailed, match="no_such_setting"), Broker():
        pass


@pytest.mark.parametrize(("module", "server"), [(local_broker, Broker), (local_database, Database)])
def test_a_new_server_goes_round_a_port_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, module: object, server: type[Broker | Database]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        first = [taken]

        def ports(count: int) -> list[int]:
            return [first.pop(), *free_ports(count)[1:]] if first else free_ports(count)

        monkeypatch.setattr(module, "free_ports", ports)
        with server() as running:
            assert f":{taken}/" not in running.url
        assert not first


class _Answers(BaseHTTPRequestHandler):
    """A management API that answers the vhost's creation as told, and all else with 204."""

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        server: Any = self.server
        server.asked.append(f"{self.command} {self.path}")
        is_creation = self.command == "PUT" and self.path.startswith("/api/vhosts/")
        self.send_response(server.statuses.pop(0) if is_creation else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def management() -> Iterator[Any]:
    with ThreadingHTTPServer((LOOPBACK, 0), _Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _create_vhost(server: Any, *statuses: int) -> list[str]:
    server.statuses, server.asked = list(statuses), []
    Management(f"http://guest:guest@{LOOPBACK}:{server.server_port}").create_vhost("v")
    return [line for line in server.asked if "permissions" not in line]


def test_a_vhost_that_the_broker_made_by_halves_is_made_again(management: Any) -> None:
    made = _create_vhost(management, 500, 500, 201)
    assert made == ["PUT /api/vhosts/v", "DELETE /api/vhosts/v"] * 2 + ["PUT /api/vhosts/v"]


@pytest.mark.parametrize("statuses", [(500, 500, 500), (401,)])
def test_a_vhost_that_cannot_be_made_is_an_error(management: Any, statuses: list[int]) -> None:
    with pytest.raises(HTTPError, match=str(statuses[-1])):
        _create_vhost(management, *statuses)
    assert management.statuses == []


_PARENT = """
import signal, subprocess, sys
from local_process import tied
from local_stack import Servers
# As in a terminal: who is started in the background by a shell is born deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
given = dict(each.split("=") for each in sys.argv[1:])
with Servers(given) as servers, subprocess.Popen(tied(["sleep", "600"])) as command:
    ours = [each for each in (servers.broker, servers.database) if each.private]
    print(*(each.directory for each in ours), flush=True)
    try:
        sys.stdin.read()
    finally:
        command.kill()
"""


@pytest.mark.parametrize(
    ("number", "with_guards", "given"),
    [
        (signal.SIGKILL, False, []),
        # With the database alone: the broker is started and ended in the same way.
        (signal.SIGKILL, True, ["AMQP_URL=amqp://other"]),
        (signal.SIGINT, False, ["AMQP_URL=amqp://other"]),
    ],
)
def test_nothing_is_left_when_the_parent_is_ended(
    number: signal.Signals, with_guards: bool, given: list[str]
) -> None:
    """Processes end even if their guards are killed with the parent; directories then stay."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, *given],
        env={**os.environ, "PYTHONPATH": str(_PROGRAM.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        directories = [Path(word) for word in parent.stdout.readline().split()]
        children = psutil.Process(parent.pid).children(recursive=True)
        started = {child.pid for child in children} | _processes_of(directories)
        guards = [child for child in children if "verification-guard" in child.cmdline()]
        assert len(guards) == len(directories)
        assert len(started) >= 6, "the servers with their children, a command and the guards"

        for guard in guards if with_guards else ():
            guard.kill()
        parent.send_signal(number)
        parent.wait(30)

    _until(lambda: not any(_is_running(pid) for pid in started))
    _until(lambda: not _processes_of(directories))
    if with_guards:
        for directory in directories:
            shutil.rmtree(directory)
    _until(lambda: not any(directory.exists() for directory in directories))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended; whoever adopted it takes its time to read the exit code


def _processes_of(directories: list[Path]) -> set[int]:
    """Return the processes that have one of the directories as argument, variable or place."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            text += os.fsencode((entry / "cwd").readlink())
        except OSError:  # it ended while we looked, or is another user's
            continue
        if any(os.fsencode(directory) in text for directory in directories):
            found.add(int(entry.name))
    return found


def test_exec_hands_on_the_servers_and_the_exit_code() -> None:
    script = 'test "$AMQP_URL" = amqp://other && psql -tAc "SELECT 6 * 7" "$DATABASE_URL"; exit 7'
    done = _exec("--scratch", "--", "sh", "-c", script)
    out, _ = done.communicate(timeout=60)
    assert (done.returncode, out.strip()) == (7, "42")


def test_exec_passes_a_signal_on_and_ends_as_the_command_ends() -> None:
    script = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    with _exec("--", "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.read() == "told\n"
        assert running.wait(30) == 9


def test_exec_says_in_one_line_that_there_is_no_such_command() -> None:
    done = _exec("--", "no-such-command")
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 127
    assert errors.startswith("local stack: no-such-command: ")
    assert errors.count("\n") == 1


def _exec(*arguments: str) -> subprocess.Popen[str]:
    """Start `exec` with a foreign broker, which nothing here dials, and a private database."""
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return subprocess.Popen(
        [sys.executable, str(_PROGRAM), "exec", *arguments],
        env={**environment, "AMQP_URL": "amqp://other"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_foreign_broker_has_one_vhost_until_it_is_told_its_management_url() -> None:
    broker = ForeignBroker("amqp://u:p@example:5673/base")
    assert broker.vhost_for("other") == "amqp://u:p@example:5673/base"
    with pytest.raises(NotOurs, match="AMQP_MANAGEMENT_URL"):
        broker.create_vhost("other")

    managed = ForeignBroker("amqp://u:p@example:5673/base", "http://u:p@example:15672")
    assert managed.vhost_for("a/b") == "amqp://u:p@example:5673/a%2Fb"
