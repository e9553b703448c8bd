"""A private PgBouncer in transaction mode before a private PostgreSQL."""

from __future__ import annotations

import os
import signal
from typing import Any
from urllib.parse import urlsplit

import psycopg

from local_database import _environment, _unprivileged_user
from local_ports import LOOPBACK, free_ports
from local_process import PrivateServer, Process, Workspace
from local_programs import program

# Fewer sessions than two workers ask for: each transaction goes to whichever is free.
_SESSIONS = 3


class Pooler(PrivateServer):
    """PgBouncer before the server of `url`; `ignored` are start-up parameters that it drops."""

    name = "PgBouncer"

    def __init__(self, url: str, *, ignored: str = "extra_float_digits") -> None:
        super().__init__(durable=False)
        self._server = urlsplit(url)
        self._ignored = ignored
        (self._port,) = free_ports(1)

    def through(self, url: str) -> str:
        """Return this URL with the pooler in place of its server."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"postgres@{LOOPBACK}:{self._port}").geturl()

    def start(self) -> None:
        """Start it; return when it answers."""
        self._workspace = Workspace("pooler", lasting=False)
        settings = {
            "listen_addr": LOOPBACK,
            "listen_port": self._port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": self.directory / "users",
            "admin_users": "postgres",
            "pool_mode": "transaction",
            "default_pool_size": _SESSIONS,
            "ignore_startup_parameters": self._ignored,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        server = f"* = host={self._server.hostname} port={self._server.port}"
        configuration = self.directory / "pgbouncer.ini"
        configuration.write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
        (self.directory / "users").write_text('"postgres" ""\n')
        self._process = Process(
            self.name,
            [program("pgbouncer"), str(configuration)],
            workspace=self._workspace,
            environment=_environment(),
            user=_unprivileged_user() if os.geteuid() == 0 else None,  # it refuses root
        )
        self._process.wait_until(self._accepts)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop(signal.SIGINT)
        if self._workspace is not None:
            self._workspace.close()

    def counts(self) -> dict[str, Any]:
        """Return PgBouncer's own totals over all databases: transactions, queries, bytes."""
        with self._console() as console:
            cursor = console.execute("SHOW TOTALS")
            return dict(cursor.fetchall())

    def _console(self) -> psycopg.Connection[Any]:
        url = f"postgresql://postgres@{LOOPBACK}:{self._port}/pgbouncer"
        # It knows simple queries alone.
        return psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)

    def _accepts(self) -> bool:
        try:
            with self._console() as console:
                console.execute("SHOW VERSION")
        except psycopg.Error:
            return False
        return True
