"""Ways to make one database misbehave while a worker uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.chaos.load import times_said
from tests.e2e.harness import OBSERVER, Process, Stack, until

READY = (200, "ok")
"""What /readyz says."""

_WORKERS = (
    "usename IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()"
    f" AND application_name <> '{OBSERVER}'"
)


@contextmanager
def administrator(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """Connect as the superuser; every statement is its own transaction."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        yield connection


@contextmanager
def refusing(
    stack: Stack, sqlstate: LiteralString, *, when: LiteralString = "TRUE", on: LiteralString
) -> Iterator[None]:
    """Raise an SQLSTATE (SQL) for rows of `request` that fulfil a condition on NEW."""
    body = sql.SQL(
        "BEGIN IF {} THEN RAISE EXCEPTION 'chaos' USING ERRCODE = {}; END IF; RETURN NEW; END"
    ).format(sql.SQL(when), sql.SQL(sqlstate))
    function = sql.SQL(
        "CREATE FUNCTION public.chaos() RETURNS trigger LANGUAGE plpgsql AS {}"
    ).format(body.as_string())
    trigger = sql.SQL(
        "CREATE TRIGGER chaos BEFORE {} ON verification.request"
        " FOR EACH ROW EXECUTE FUNCTION public.chaos()"
    ).format(sql.SQL(on))
    with administrator(stack) as database:
        database.execute(function)
        database.execute(trigger)
        try:
            yield
        finally:
            database.execute("DROP FUNCTION public.chaos CASCADE")


def terminate_all(database: psycopg.Connection[Any]) -> int:
    """End the connections that others have to this database; return how many there were."""
    query = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {_WORKERS}"  # noqa: S608
    row = database.execute(sql.SQL(query)).fetchone()
    assert row is not None
    return int(row[0])


def waits_for_locks(database: psycopg.Connection[Any]) -> set[Any]:
    """Return since when each statement waits that waits for somebody's lock."""
    query = "SELECT query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
    return {start for (start,) in database.execute(query + _WORKERS)}


def misses_database(worker: Process) -> str | None:
    """Return what /readyz says where it is that the database does not answer."""
    status, words = worker.ready()
    return words if status == 503 and words.startswith("the database does not answer") else None


def is_missed(worker: Process, times: int) -> None:
    """Return when the worker has said for so many times that the database is away."""
    until(lambda: times_said(worker, "database.unavailable") >= times)


def is_back(worker: Process) -> None:
    """Return when the worker has missed the database and found it again."""
    until(lambda: worker.said("database.unavailable"))
    until(lambda: times_said(worker, "database.back") == times_said(worker, "database.unavailable"))


def records_wait(stack: Stack) -> None:
    """Return when a call that is paid for and answered waits to be recorded."""
    until(lambda: stack.provider.charges()["answered"] > stack.count())


def is_left(stack: Stack) -> None:
    """Return when no worker has a session any more: nothing comes to be committed."""
    with administrator(stack) as database:
        until(lambda: not terminate_all(database))
