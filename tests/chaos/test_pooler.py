"""A private PgBouncer in transaction mode stands between workers and database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import text

from local_database import server_user
from local_ports import LOOPBACK
from local_process import PrivateServer, Process
from local_programs import program
from local_stack import Servers
from tests.chaos.load import PACE, Load
from tests.e2e.harness import Stack, run_program
from worker.store.engine import connection, execute, open_engine

# Fewer sessions than two workers ask for: each transaction goes to whichever is free.
_SESSIONS = 3


class Pooler(PrivateServer):
    """PgBouncer before the server of `url`; `ignored` are start-up parameters that it drops."""

    name = "PgBouncer"

    def __init__(self, url: str, *, ignored: str = "extra_float_digits") -> None:
        super().__init__(durable=False)
        self._server = urlsplit(url)
        self._ignored = ignored

    def through(self, url: str) -> str:
        """Return this URL with the pooler in place of its server."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"postgres@{LOOPBACK}:{self.port}").geturl()

    def _prepare(self) -> None:
        settings = {
            "listen_addr": LOOPBACK,
            "listen_port": self.port,
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

    def _started(self) -> Process:
        return Process(
            self.name,
            [program("pgbouncer"), str(self.directory / "pgbouncer.ini")],
            workspace=self.workspace,
            environment={},
            user=server_user(),  # it refuses root
        )

    def _answers(self) -> bool:
        url = f"postgresql://postgres@{LOOPBACK}:{self.port}/pgbouncer"
        try:
            # It knows simple queries alone.
            connect = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)
            with connect as console:
                console.execute("SHOW VERSION")
        except psycopg.Error:
            return False
        return True


NAMED = {"DATABASE_POOLER": "transaction"}


@pytest.fixture(
    scope="module",
    params=["extra_float_digits", "options"],
    ids=["refuses-options", "drops-options"],
)
def pooler(servers: Servers, request: pytest.FixtureRequest) -> Iterator[Pooler]:
    """Run PgBouncer as it is by default, and as it is often made to take other clients."""
    with Pooler(servers.database.url, ignored=request.param) as running:
        yield running


def test_when_two_workers_share_its_sessions_then_each_request_is_paid_once(
    stack: Stack, pooler: Pooler
) -> None:
    load = Load(stack, 300)  # each session is handed to and fro some hundred times
    through = {"DATABASE_URL": pooler.through(stack.database_url), **NAMED}
    workers = [stack.start_worker(**PACE, **through) for _ in range(2)]
    load.all_is_counted(*workers)
    for worker in workers:
        assert not worker.said("database.unavailable")


def test_when_it_is_not_named_then_whoever_needs_the_database_says_so_and_stops(
    stack: Stack, pooler: Pooler
) -> None:
    stack.environment["DATABASE_URL"] = pooler.through(stack.database_url)
    worker = stack.launch_worker()
    assert worker.ended() == 2
    refusals = [worker.said("DATABASE_POOLER") or "", stack.command("status").stderr]
    for refusal in refusals:
        assert "DATABASE_URL: a connection pooler (PgBouncer) stands between" in refusal
        assert "DATABASE_POOLER=transaction" in refusal
    assert not worker.said("Traceback")
    stack.environment.update(NAMED)
    stack.command("status", code=0)


def test_migrations_go_past_it(stack: Stack, pooler: Pooler) -> None:
    through = {"DATABASE_URL": pooler.through(stack.database_url), **NAMED}
    upgrade = (sys.executable, "-m", "alembic", "upgrade", "head")
    done = run_program(*upgrade, environment=through)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "migrations the server itself" in line


LOOK = text("""
SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
       current_setting('synchronous_commit'), current_setting('enable_seqscan'),
       (SELECT count(*) FROM pg_prepared_statements)
""")


def test_each_transaction_has_its_limits_and_leaves_nothing_behind(
    database_url: str, pooler: Pooler
) -> None:
    through = pooler.through(database_url)
    engine = open_engine(through, "pooled", by_keys=True, pooled=True)
    tools = open_engine(through, "tools", pooled=True)
    try:
        for _ in range(6):  # psycopg prepares at the fifth time
            assert execute(engine, LOOK) == [("30s", "10s", "on", "off", 0)]
        transactions = engine.execution_options(isolation_level="READ COMMITTED")
        with connection(transactions) as database, database.begin():
            assert database.execute(LOOK).all() == [("30s", "10s", "on", "off", 0)]
        assert execute(tools, LOOK) == [("30s", "10s", "on", "on", 0)]
    finally:
        engine.dispose()
        tools.dispose()
