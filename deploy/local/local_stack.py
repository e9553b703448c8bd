"""The local stack: one RabbitMQ node and one PostgreSQL server, private to whoever asked for them.

For `with Servers() as servers`: programs find them by the variables of `servers.environment()`.
"""

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NoReturn

from local_broker import Broker
from local_database import Database, ForeignDatabase
from local_management import ForeignBroker
from local_process import Lifetime, PrivateServer


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

        Signals that would end us on the spot (a service manager, a CI runner or a closed terminal
        sends them) become SystemExit meanwhile, so that `with` is left. A handler that the program
        has set is its own business and stays.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
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


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
