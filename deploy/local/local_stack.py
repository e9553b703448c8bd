"""The local stack: one RabbitMQ node and one PostgreSQL server, private to whoever asked for them.

    with Servers() as servers:
        run(environment={**os.environ, **servers.environment()})

Used by the demonstration (`deploy/local/run`), by `deploy/local/test` and by the tests' fixtures.
As a program: `local_stack.py install`, and `local_stack.py exec [--scratch] -- COMMAND...`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

from local_broker import Broker
from local_database import Database, ForeignDatabase
from local_errors import StackError
from local_install import install_missing
from local_management import ForeignBroker
from local_process import tied
from local_workspace import Lifetime, PrivateServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

# What a service manager, a CI runner or a closed terminal sends to have us end.
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)

# As a shell has it.
_NO_SUCH_COMMAND = 127


class Servers(Lifetime):
    """The broker and the database, started together and ended together.

    With AMQP_URL or DATABASE_URL in the environment that server is used as it is instead.
    Servers that are not `durable` write to memory and wait for no disk.
    """

    def __init__(
        self, environment: Mapping[str, str] | None = None, *, durable: bool = True
    ) -> None:
        given = os.environ if environment is None else environment
        amqp, database = given.get("AMQP_URL"), given.get("DATABASE_URL")
        self.broker: Broker | ForeignBroker = (
            ForeignBroker(amqp, given.get("AMQP_MANAGEMENT_URL"))
            if amqp
            else Broker(durable=durable)
        )
        self.database: Database | ForeignDatabase = (
            ForeignDatabase(database) if database else Database(durable=durable)
        )
        both = (self.broker, self.database)
        self._ours = [server for server in both if isinstance(server, PrivateServer)]
        self._exits = ExitStack()

    @property
    def private(self) -> bool:
        """Whether both servers are ours, to kill and restart as we like."""
        return self.broker.private and self.database.private

    def environment(self) -> dict[str, str]:
        """Return the variables by which a program finds both servers."""
        return {"AMQP_URL": self.broker.url, "DATABASE_URL": self.database.url}

    def start(self) -> None:
        """Start both; return when both answer. Raises StackError.

        Signals that would end us on the spot become SystemExit meanwhile, so that `with` is left. A
        handler that the program has set is its own business and stays.
        """
        if threading.current_thread() is threading.main_thread():
            for number in _ENDINGS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _leave)
                    self._exits.callback(_restore, number)
        for server in self._ours:
            self._exits.callback(server.close)
            server.launch()  # the broker boots while the database is made: no thread needed
        for server in self._ours:
            server.wait_ready()

    def close(self) -> None:
        """Stop what is ours and remove its data. May be called twice."""
        self._exits.close()


def _restore(number: signal.Signals) -> None:
    if signal.getsignal(number) is _leave:
        signal.signal(number, signal.SIG_DFL)


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)


def run_within(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command and return its exit code as a shell would; what ends us ends it as well."""
    if shutil.which(command[0]) is None:
        print(f"local stack: {command[0]}: there is no such command", file=sys.stderr)
        return _NO_SUCH_COMMAND
    # What ends us while the command starts waits until there is a command to end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_ENDINGS, signal.SIGINT))
    with subprocess.Popen(
        tied(command),
        env=dict(environment),
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
    ) as running:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            code = running.wait()
        except BaseException:
            running.terminate()
            raise
    return 128 - code if code < 0 else code


def _execute(command: Sequence[str], *, scratch: bool) -> int:
    with Servers() as servers, ExitStack() as exits:
        variables = {**os.environ, **servers.environment()}
        if scratch:
            name = f"scratch_{uuid.uuid4().hex}"
            variables["DATABASE_URL"] = servers.database.create_database(name)
            exits.callback(servers.database.drop_database, name)
        return run_within(command, variables)


def main(arguments: Sequence[str]) -> int:
    """Carry out one command of the command line."""
    parser = argparse.ArgumentParser(prog="local_stack.py", description="The local stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser(
        "install", help="install the servers' Debian packages if they are missing"
    )
    install.add_argument("--benchmark", action="store_true", help="those of the benchmark, too")
    execute = commands.add_parser("exec", help="run a command with AMQP_URL and DATABASE_URL set")
    execute.add_argument(
        "--scratch", action="store_true", help="let DATABASE_URL name a new, empty database"
    )
    execute.add_argument("argv", nargs="+", metavar="COMMAND")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "install":
            install_missing(benchmark=chosen.benchmark)
            return 0
        return _execute(chosen.argv, scratch=chosen.scratch)
    except StackError as error:
        print(f"local stack: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
