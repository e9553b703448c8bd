"""The local stack itself: what the demonstration and every other test stand on."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

import local_broker
import local_database
import local_stack
from local_broker import Broker
from local_database import Database
from local_errors import NotOurs, StackError, StartFailed
from local_install import missing_packages
from local_management import ForeignBroker
from local_ports import free_ports
from local_process import is_running
from tests.e2e.harness import PATIENCE, until

_PROGRAM = Path(local_stack.__file__)

pytestmark = [
    pytest.mark.usefixtures("own_servers"),
    pytest.mark.skipif(
        bool(missing_packages({})), reason="the servers' programs are not installed"
    ),
]


def test_a_new_server_goes_round_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As durable as production's by default; one that cannot start shows the end of its log.

    The broker goes round a port in the test after this.
    """
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        first = [stranger.getsockname()[1]]
        monkeypatch.setattr(
            local_database,
            "free_ports",
            lambda count: [first.pop()] if first else free_ports(count),
        )
        with Database() as running:
            assert not first
            with psycopg.connect(running.url) as session:
                for name in ("fsync", "full_page_writes", "synchronous_commit"):
                    assert session.execute(f"SHOW {name}".encode()).fetchone() == ("on",)
            running.stop()
            settings = running.directory / "data" / "postgresql.auto.conf"
            settings.write_text("no_such_setting = 1\n")
            with pytest.raises(StartFailed, match="no_such_setting"):
                running.start()


_PARENT = """
import signal, socket, subprocess, sys
import local_broker
from local_process import tied
from local_stack import Servers
# The first port that the broker is given is a stranger's: it starts on others.
stranger, free_ports = socket.create_server(("127.0.0.1", 0)), local_broker.free_ports
taken = [stranger.getsockname()[1]]
def ports(count):
    first = [taken.pop()] if taken else []
    return [*first, *free_ports(count)][:count]
local_broker.free_ports = ports
# As in a terminal: who is started in the background by a shell is born deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
given = dict(each.split("=") for each in sys.argv[1:])
with Servers(given) as servers, subprocess.Popen(tied(["sleep", "600"])) as command:
    ours = [each for each in (servers.broker, servers.database) if each.private]
    if not given:
        servers.database.pause()  # it does not hear what its starter's end sends it
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
    """Processes end even if their guards are killed with the parent; directories then stay.

    The guards end a frozen server.
    """
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
        started = {*children, *_processes_of(directories)}
        guards = [child for child in children if "verification-guard" in child.cmdline()]
        assert len(guards) == len(directories)
        assert len(started) >= 6, "the servers with their children, a command and the guards"

        for guard in guards if with_guards else ():
            guard.kill()
        parent.send_signal(number)
        parent.wait(PATIENCE)

    until(lambda: not any(map(is_running, started)))
    until(lambda: not _processes_of(directories))
    if with_guards:
        for directory in directories:
            shutil.rmtree(directory)
    until(lambda: not any(directory.exists() for directory in directories))


def _processes_of(directories: list[Path]) -> set[psutil.Process]:
    """Return the processes that have one of the directories as argument, variable or place."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended while we looked, or is another user's
            text = repr((process.cmdline(), process.environ(), process.cwd()))
            if any(str(directory) in text for directory in directories):
                found.add(process)
    return found


def test_exec_hands_on_the_servers_and_the_exit_code() -> None:
    script = 'test "$AMQP_URL" = amqp://other && psql -tAc "SELECT 6 * 7" "$DATABASE_URL"; exit 7'
    done = _exec("--scratch", "--", "sh", "-c", script)
    out, _ = done.communicate(timeout=PATIENCE)
    assert (done.returncode, out.strip()) == (7, "42")


def test_exec_passes_a_signal_on_and_waits_until_the_command_has_ended() -> None:
    script = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    with _exec("--", "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.read() == "told\n"
        assert running.wait(PATIENCE) == 128 + signal.SIGTERM


def test_a_signal_that_comes_while_the_command_starts_ends_it_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready, told = tmp_path / "ready", tmp_path / "told"
    os.mkfifo(ready)

    class ToldTooEarly(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            ready.read_text()  # the command listens, and we do not know of it yet
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", ToldTooEarly)
    before = signal.signal(signal.SIGTERM, local_stack._leave)
    script = f"trap 'kill $!; echo > {told}; exit' TERM; sleep 60 & echo > {ready}; wait"
    try:
        with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
            local_stack.run_within(["sh", "-c", script], os.environ)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told.exists()


def test_exec_says_in_one_line_that_there_is_no_such_command() -> None:
    done = _exec("--", "no-such-command", DATABASE_URL="postgresql://other")
    _, errors = done.communicate(timeout=PATIENCE)
    assert done.returncode == 127
    assert errors.startswith("local stack: no-such-command: ")
    assert errors.count("\n") == 1


def _exec(*arguments: str, **given: str) -> subprocess.Popen[str]:
    """Start `exec` with a foreign broker, which nothing here dials; a database is private."""
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return subprocess.Popen(
        [sys.executable, str(_PROGRAM), "exec", *arguments],
        env={**environment, "AMQP_URL": "amqp://other", **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_queue_is_not_taken_for_one_whose_name_begins_like_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Broker, "directory", tmp_path)
    monkeypatch.setattr(local_broker, "_ON_DISK_LOOKS", 1)
    names = tmp_path / "data" / "node" / "quorum" / "node" / "names.dets"
    names.parent.mkdir(parents=True)
    # As RabbitMQ 3.10.8 wrote it: an atom and a binary.
    names.write_bytes(b"\x83h\x02d\x00\x0c%2F_v.r.bulkm\x00\x00\x00\x122F_VRB0LASZFYTHHGT")
    Broker().await_on_disk("/", "v.r.bulk")
    with pytest.raises(StackError, match="does not get on the disk"):
        Broker().await_on_disk("/", "v.r")


def test_a_foreign_broker_has_one_vhost_until_it_is_told_its_management_url() -> None:
    broker = ForeignBroker("amqp://u:p@example:5673/base")
    assert broker.vhost_for("other") == "amqp://u:p@example:5673/base"
    with pytest.raises(NotOurs, match="AMQP_MANAGEMENT_URL"):
        broker.create_vhost("other")

    managed = ForeignBroker("amqp://u:p@example:5673/base", "http://u:p@example:15672")
    assert managed.vhost_for("a/b") == "amqp://u:p@example:5673/a%2Fb"
