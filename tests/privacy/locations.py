"""Every place where something stays: how it is read, and how a leak there is made on purpose.

The bodies of messages in queues are not among them: that is where the data lives until a message
is settled, and where RabbitMQ's files have it, unless the publisher encrypts.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pika
import psycopg
from psycopg import sql

from local_programs import program
from tests.e2e.harness import DEAD, RESULTS
from tests.privacy.canaries import Canary
from tests.privacy.search import written
from tests.privacy.system import PATIENCE, PYTHON, Site, System, eventually

Items = Iterator[tuple[str, bytes]]


# Pages of the database and its log are made of empty space for the most part.
_EMPTY = re.compile(rb"\0{64,}")
_OWN_SCHEMAS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
_SAY_IT = [sys.executable, "-c", "import sys; sys.stderr.write(sys.stdin.read())"]


class Location(NamedTuple):
    """A kind of place."""

    name: str
    items: Callable[[System], Items]
    """Opens it and yields what is in it, by name."""
    leak: Callable[[Site, Canary], object]
    """Lets a person's data get there."""
    whose: tuple[str, ...] = ("",)
    """The beginnings of the labels of the people who are searched for."""


# How the locations are read


def _numbered(kind: str, texts: Iterable[bytes]) -> Items:
    for number, text in enumerate(texts):
        yield f"{kind} {number}", text


def _files(directory: Path, pattern: str = "*") -> Items:
    for file in sorted(directory.rglob(pattern)):
        if file.is_file():
            yield file.name, _EMPTY.sub(b"\0" * 64, file.read_bytes())


def _left(system: System) -> Items:
    yield from _numbered("name", (str(each).encode() for each in (system.root / "left").rglob("*")))
    yield from _files(system.root / "left")


def _columns(system: System) -> Items:
    """Yield every column of every table, views and materialised views included, as text and raw."""
    with psycopg.connect(system.database_url) as database:
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


def _dump(system: System) -> Items:
    command = [program("pg_dump"), "--dbname", system.database_url]
    yield "pg_dump", subprocess.run(command, capture_output=True, check=True).stdout


def _pages(system: System) -> Items:
    """Yield the files of our database, of the whole server, and of what it wrote ahead."""
    with psycopg.connect(system.database_url) as database:
        database.execute("CHECKPOINT")
        query = "SELECT oid FROM pg_database WHERE datname = current_database()"
        found = database.execute(query).fetchone()
    assert found is not None
    data = system.database.directory / "data"
    for name in ("global", "pg_wal", "pg_stat", "pg_stat_tmp", "base/pgsql_tmp"):
        yield from _files(data / name)
    yield from _files(data / f"base/{found[0]}")


def _sessions(system: System) -> Items:
    system.watch.look_at_sessions()
    yield from _numbered("statement", system.watch.sessions)


# How leaks are made


def _say(kind: str) -> Callable[[Site, Canary], object]:
    def leak(site: Site, person: Canary) -> None:
        utf_8 = {"PYTHONUTF8": "1"}
        site.system.run(kind, _SAY_IT, utf_8, given=person.name).popen.wait(PATIENCE)

    return leak


def _leave_a_file(site: Site, person: Canary) -> None:
    spelled = dict(written(person.bankcard))
    (site.system.root / "left/tmp/core").write_bytes(spelled["UTF-16 little-endian"])


def _serve_a_metric(site: Site, person: Canary) -> None:
    metric = f'calls_total{{person="{person.name}"}} 1\n'.encode()
    folder, watch = site.system.given, site.system.watch
    (folder / "metrics").write_bytes(metric)
    server = [*PYTHON, "http.server", str(watch.scraped_port()), "-b", "127.0.0.1"]
    site.system.run("other", [*server, "-d", str(folder)], {})
    eventually(lambda: metric in watch.scrapes)


def _send_a_span(site: Site, person: Canary) -> None:
    attribute = b"\x0a\x04name\x12" + person.name.encode()
    urllib.request.urlopen(site.system.collector_url, attribute, timeout=60).close()


def _publish(exchange: str, routing_key: str) -> Callable[[Site, Canary], object]:
    def leak(site: Site, person: Canary) -> None:
        headers = {"lastError": f"bad value {person.id_card}"}
        properties = pika.BasicProperties(headers=headers)
        site.channel.basic_publish(exchange, routing_key, b"{}", properties)

    return leak


def _execute(query: str) -> Callable[[Site, Canary], object]:
    def leak(site: Site, person: Canary) -> None:
        with psycopg.connect(site.database_url) as database:
            database.execute(query.format(person.name).encode())

    return leak


def _name_a_connection(site: Site, person: Canary) -> None:
    parameters = pika.URLParameters(site.amqp_url)
    parameters.client_properties = {"connection_name": person.id_card}
    pika.BlockingConnection(parameters).close()


_write_a_row = _execute("UPDATE verification.request SET masked_name = concat(masked_name, '{}')")


LOCATIONS = (
    Location("log of the workers", lambda s: _files(s.root / "logs", "worker-*"), _say("worker")),
    Location(
        "output of the commands", lambda s: _files(s.root / "logs", "command-*"), _say("command")
    ),
    Location("log of the sandbox", lambda s: _files(s.root / "logs", "sandbox-*"), _say("sandbox")),
    Location(
        "log and pages of the console",
        lambda s: _files(s.root / "logs", "console-*"),
        _say("console"),
    ),
    Location("files left behind, results files", _left, _leave_a_file),
    Location(
        "command lines, environments",
        lambda s: _numbered("process", s.processes),
        lambda site, person: site.system.run("other", [*_SAY_IT, person.id_card], {}),
    ),
    Location("metrics, probes", lambda s: _numbered("answer", s.watch.scrapes), _serve_a_metric),
    Location("spans", lambda s: _numbered("batch", s.spans), _send_a_span),
    Location(
        "result events",
        lambda s: _numbered("event", (each for site in s.sites for each in site.firehose.events)),
        _publish(RESULTS, "x"),
    ),
    Location(
        "retries, dead letters: headers",
        lambda s: _numbered("message", (each for site in s.sites for each in site.firehose.others)),
        _publish("", DEAD),
    ),
    Location("columns of all tables and views", _columns, _write_a_row),
    Location("pg_dump", _dump, _write_a_row),
    Location("PostgreSQL's files, its WAL", _pages, _write_a_row),
    Location(
        "PostgreSQL's log of all statements",
        lambda s: _files(s.database.directory, "postgresql.log"),
        _execute("SELECT '{}'"),
    ),
    Location("pg_stat_activity, _statements", _sessions, _execute("SELECT pg_sleep(0.1) AS {}")),
    Location("RabbitMQ's log", lambda s: _files(s.broker.directory, "*.log"), _name_a_connection),
    Location(
        "RabbitMQ's management pages",
        lambda s: s.broker_pages.pages(),
        lambda site, person: site.channel.queue_declare(person.name),
    ),
    Location(
        "RabbitMQ's files: encrypted bodies",
        lambda s: _files(s.broker.directory / "data"),
        lambda site, person: site.publish(person.request(3)),
        ("encrypted-", "planted-"),
    ),
)
