"""A primary and a standby by PostgreSQL's own streaming replication, and how their roles change."""

from __future__ import annotations

from typing import LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import TupleRow

from local_database import Database
from local_programs import program
from tests.e2e.harness import until


class Standby(Database):
    """A copy of a running server that follows it, until it is promoted."""

    def __init__(self, primary: Database) -> None:
        super().__init__()
        self._primary = primary

    def _prepare(self) -> None:
        command = [program("pg_basebackup"), "--write-recovery-conf", "--checkpoint=fast"]
        self._run_tool([*command, "--no-sync", "--dbname", self._primary.url])


def ask(server: Database, statement: LiteralString) -> TupleRow | None:
    """Execute one statement as the superuser and return its first row, where it has one."""
    with psycopg.connect(server.url, autocommit=True) as session:
        cursor = session.execute(statement)
        return cursor.fetchone() if cursor.description else None


def is_followed(primary: Database) -> None:
    """Return when a standby has all that the primary has committed."""
    caught_up = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
    until(lambda: ask(primary, caught_up))


def cut_off(standby: Database) -> None:
    """Let the standby receive nothing more."""
    ask(standby, "ALTER SYSTEM SET primary_conninfo = ''")
    ask(standby, "SELECT pg_reload_conf()")
    until(lambda: ask(standby, "SELECT count(*) FROM pg_stat_wal_receiver") == (0,))


def promote(standby: Database) -> None:
    """Make it the primary; return when it takes writes."""
    ask(standby, "SELECT pg_promote()")


def follow(stopped: Database, primary: Database) -> None:
    """Start a primary that was stopped as a standby of another one; it takes reads alone."""
    port = urlsplit(primary.url).port
    (stopped._data / "standby.signal").touch()
    with (stopped._data / "postgresql.auto.conf").open("a") as configuration:
        configuration.write(f"primary_conninfo = 'host=127.0.0.1 port={port} user=postgres'\n")
    stopped.start()
