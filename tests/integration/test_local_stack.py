"""The local stack itself: what the demonstration and every other test stand on."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

import local_ports
import local_stack
from local_broker import Broker
from local_database import Database
from local_errors import NotOurs, StartFailed
from local_management import ForeignBroker
from local_ports import free_ports
from local_process import is_running
from local_programs import missing_packages
from tests.e2e import harness
from tests.e2e.harness import PATIENCE, until

_PROGRAM = Path(local_stack.__file__)

pytestmark = [
    pytest.mark.usefixtures("own_servers"),
    pytest.mark.skipif(
        bool(missing_packages({})), reason="the servers' programs are not installed"
    ),
]


def test_a_server_is_as_durable_as_productions_and_shows_why_it_does_not_start() -> None:
    with Database() as running:
        with psycopg.connect(running.url) as session:
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                assert session.execute(f"SHOW {name}".encode()).fetchone() == ("on",)
        running.stop()
        running.write("postgresql.auto.conf", b"no_such_setting = 1\n")
        with pytest.raises(StartFailed, match="no_such_setting"):
            running.start()


def test_a_port_that_is_kept_for_a_server_is_given_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("_FIRST", 32_100), ("_LAST", 32_120), ("_ATTEMPTS", 20)):
        monkeypatch.setattr(local_ports, name, value)
    with ExitStack() as held:
        kept = free_ports(3, held)
        assert len(set(kept)) == 3
        with pytest.raises(OSError, match="no 18 free ports"):
            free_ports(18)


_PARENT = """
import signal, subprocess, sys
from local_process import tied
from local_stack import Servers
# As in a terminal: who is started in the background by a shell is born deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
given = dict(each.split("=") for each in sys.argv[1:])
with Servers(given) as servers, subprocess.Popen(tied(["sleep", "600"])) as command:
    ours = [each for each in (servers.broker, servers.database) if each.private]
    if not given:
        servers.database.pause()  # it does not hear what its starter's end sends it
    try:
        print(*(each.directory for each in ours), flush=True)  # fails where nobody reads it
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


def test_a_queue_is_not_taken_for_one_whose_name_begins_like_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Broker, "directory", tmp_path)
    names = tmp_path / "data" / "node" / "quorum" / "node" / "names.dets"
    names.parent.mkdir(parents=True)
    # As RabbitMQ 3.10.8 wrote it: an atom and a binary.
    names.write_bytes(b"\x83h\x02d\x00\x0c%2F_v.r.bulkm\x00\x00\x00\x122F_VRB0LASZFYTHHGT")
    harness.await_on_disk(Broker(), "/", "v.r.bulk")
    with pytest.raises(TimeoutError):
        harness.await_on_disk(Broker(), "/", "v.r", 0)


def test_a_foreign_broker_has_one_vhost_until_it_is_told_its_management_url() -> None:
    broker = ForeignBroker("amqp://u:p@example:5673/base")
    assert broker.vhost_for("other") == "amqp://u:p@example:5673/base"
    with pytest.raises(NotOurs, match="AMQP_MANAGEMENT_URL"):
        broker.create_vhost("other")

    managed = ForeignBroker("amqp://u:p@example:5673/base", "http://u:p@example:15672")
    assert managed.vhost_for("a/b") == "amqp://u:p@example:5673/a%2Fb"
