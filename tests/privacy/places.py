"""Every place where something stays, as named byte streams.

The bodies of messages in queues are not among them: that is where the data lives until a message
is settled, and where RabbitMQ's files have it, unless the publisher encrypts.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import sql

from local_programs import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.privacy.scene import Scene

    Items = Iterator[tuple[str, bytes]]

# Pages of the database and its log are made of empty space for the most part.
_EMPTY = re.compile(rb"\0{64,}")
_OWN_SCHEMAS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"


class Place(NamedTuple):
    """A kind of place; `items` opens it and yields what is in it, by name.

    `whose` are the beginnings of the labels of the people who are searched for.
    """

    name: str
    items: Callable[[Scene], Items]
    whose: tuple[str, ...] = ("",)


def _output(prefix: str) -> Callable[[Scene], Items]:
    def items(scene: Scene) -> Items:
        for file in sorted((scene.root / "logs").glob(f"{prefix}-*")):
            yield file.name, file.read_bytes()

    return items


def _left(scene: Scene) -> Items:
    for file in sorted((scene.root / "left").rglob("*")):
        yield f"the name {file.name}", str(file).encode()
        if file.is_file():
            yield file.name, file.read_bytes()


def _seen(scene: Scene) -> Items:
    for number, text in enumerate(sorted(scene.watch.processes)):
        yield f"process {number}", text


def _scraped(scene: Scene) -> Items:
    for number, text in enumerate(sorted(scene.watch.scrapes)):
        yield f"answer {number}", text


def _spans(scene: Scene) -> Items:
    for number, body in enumerate(scene.collector.received):
        yield f"batch {number}", body


def _events(scene: Scene) -> Items:
    for hose in scene.firehoses:
        for number, event in enumerate(hose.events):
            yield f"event {number}", event


def _others(scene: Scene) -> Items:
    for hose in scene.firehoses:
        for number, message in enumerate(hose.others):
            yield f"message {number}", message


def _columns(scene: Scene) -> Items:
    """Yield every column of every table, views and materialised views included, as text and raw."""
    with psycopg.connect(scene.database_url) as database:
        query = f"""SELECT table_schema, table_name, column_name, data_type
                      FROM information_schema.columns WHERE table_schema {_OWN_SCHEMAS}"""  # noqa: S608
        for schema, table, column, kind in database.execute(query).fetchall():
            cast = sql.SQL("{}") if kind == "bytea" else sql.SQL("convert_to({}::text, 'UTF8')")
            rows = database.execute(
                sql.SQL("SELECT {} FROM {}").format(
                    cast.format(sql.Identifier(column)), sql.Identifier(schema, table)
                )
            )
            content = b"\n".join(bytes(value) for (value,) in rows if value is not None)
            yield f"{schema}.{table}.{column}", content


def _dump(scene: Scene) -> Items:
    command = [program("pg_dump"), "--dbname", scene.database_url]
    yield "pg_dump", subprocess.run(command, capture_output=True, check=True).stdout


def _pages(scene: Scene) -> Items:
    """Yield the files of our database, of the whole server, and of what it wrote ahead."""
    with psycopg.connect(scene.database_url) as database:
        database.execute("CHECKPOINT")
        found = database.execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert found is not None
    data = scene.database.directory / "data"
    for folder in (
        f"base/{found[0]}",
        "global",
        "pg_wal",
        "pg_stat",
        "pg_stat_tmp",
        "base/pgsql_tmp",
    ):
        for file in sorted((data / folder).rglob("*")):
            if file.is_file():
                yield f"{folder}/{file.name}", _EMPTY.sub(b"\0" * 64, file.read_bytes())


def _database_log(scene: Scene) -> Items:
    yield "postgresql.log", (scene.database.directory / "postgresql.log").read_bytes()


def _sessions(scene: Scene) -> Items:
    for number, text in enumerate(sorted(scene.watch.sessions | scene.watch.statements())):
        yield f"statement {number}", text


def _broker_log(scene: Scene) -> Items:
    for file in sorted(scene.broker.directory.rglob("*.log")):
        yield file.name, file.read_bytes()


def _management(scene: Scene) -> Items:
    yield from scene.manager.pages()


def _broker_files(scene: Scene) -> Items:
    for file in sorted((scene.broker.directory / "data").rglob("*")):
        if file.is_file():
            yield file.name, _EMPTY.sub(b"\0" * 64, file.read_bytes())


PLACES = (
    Place("log of the workers", _output("worker")),
    Place("output of the commands", _output("command")),
    Place("log of the sandbox", _output("sandbox")),
    Place("files left behind, results files", _left),
    Place("command lines, environments", _seen),
    Place("metrics, probes", _scraped),
    Place("spans", _spans),
    Place("result events", _events),
    Place("retries, dead letters: headers", _others),
    Place("columns of all tables and views", _columns),
    Place("pg_dump", _dump),
    Place("PostgreSQL's files, its WAL", _pages),
    Place("PostgreSQL's log of all statements", _database_log),
    Place("pg_stat_activity, _statements", _sessions),
    Place("RabbitMQ's log", _broker_log),
    Place("RabbitMQ's management pages", _management),
    Place("RabbitMQ's files: encrypted bodies", _broker_files, ("encrypted-", "planted-")),
)
