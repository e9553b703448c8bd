"""The way to PostgreSQL: one small pool, and its errors mapped once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.ports import DatabaseUnfit, LedgerContended, LedgerRefused, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine, TextClause
    from sqlalchemy.engine import URL

# Claimer, recorder, housekeeper and pause watcher: a connection for each thread that uses the pool.
POOL_SIZE = 4

# Of every connection of ours, whatever the URL, the environment, the role or the database says.
CONNECT = {
    # A name has characters that GBK, say, lacks: it could not be sent at all.
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # A database that vanished without a word is noticed after 20 s, not after the kernel's 15 min.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}

# No statement of ours takes a second; one that waits longer waits for something broken.
_LIMITS = "-c statement_timeout=30s -c lock_timeout=10s"

# A worker's statements find their rows by keys, and a session keeps the plans that it has made.
# Made while the tables were small they would read all of them each time, until the next ANALYZE: in
# the first minute of a new house that was three times the server's work. So this is ruled out.
_BY_KEYS = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"

# A commit must outlive a kill of the server, whatever is set for the database or the role: a weaker
# `synchronous_commit` is raised for the session, a stronger one kept. Returns what was weak, and
# what a session cannot mend.
_DURABLE = """
SELECT name, setting,
       CASE name WHEN 'synchronous_commit' THEN set_config(name, 'on', false) END
  FROM pg_settings
 WHERE name = 'synchronous_commit' AND setting NOT IN ('on', 'remote_apply')
    OR name IN ('fsync', 'full_page_writes') AND setting = 'off'
"""


def database_url(url: str) -> URL:
    """Return the URL with our driver in it, whatever driver it names."""
    return make_url(url).set(drivername="postgresql+psycopg")


def open_engine(
    url: str,
    application_name: str,
    *,
    by_keys: bool = False,
    patience: int | None = None,
    on_weak: Callable[[Mapping[str, str]], None] = lambda _settings: None,
) -> Engine:
    """Return an engine that connects at first use; `by_keys` is for a worker's own statements.

    Every statement is its own transaction (autocommit): claim and record are one statement each,
    so a batch costs one round trip and no BEGIN. `on_weak` learns at each new connection which of
    the server's settings promise less than that a commit lasts. `patience` is how many seconds a
    statement may take, where that is less than usual. Connecting raises `DatabaseUnfit` where the
    database's encoding is not UTF8.
    """
    limits = _LIMITS
    if patience is not None:
        limits = f"-c statement_timeout={patience}s -c lock_timeout={patience * 500}ms"
    engine = create_engine(
        database_url(url),
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,  # the server's memory of our statements is that of a connection
        pool_reset_on_return=None,
        hide_parameters=True,
        connect_args={
            **CONNECT,
            "application_name": application_name[:63],
            "options": f"{limits} {_BY_KEYS}" if by_keys else limits,
        },
    )

    def prepare(new: psycopg.Connection[Any], _record: object) -> None:
        refuse_other_encodings(new)
        if weak := {name: value for name, value, _ in new.execute(_DURABLE)}:
            on_weak(weak)
        new.commit()

    event.listen(engine, "connect", prepare)
    return engine


def refuse_other_encodings(new: psycopg.Connection[Any]) -> None:
    """Raise `DatabaseUnfit` where the database cannot hold every name."""
    if (encoding := new.info.parameter_status("server_encoding")) != "UTF8":
        raise DatabaseUnfit(
            f"DATABASE_URL: the database's encoding is {encoding}: name one that was made with "
            "ENCODING 'UTF8' TEMPLATE template0"
        )


def compiled(sql: str) -> str:
    """Return SQL with the driver's parameters in place of `:name`, for `run`."""
    return str(text(sql).compile(dialect=PGDialect_psycopg()))  # type: ignore[no-untyped-call]


def run(database: Connection, statement: str, parameters: Mapping[str, object]) -> list[Any]:
    """Execute a compiled statement on the driver's cursor and return its rows, as named tuples.

    For the two statements of every message: at light load SQLAlchemy's layers take a third of the
    time that a statement takes with its commit.
    """
    driver: Any = database.connection.driver_connection
    with driver.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(statement, parameters).fetchall()
        return rows


@contextmanager
def connection(engine: Engine) -> Iterator[Connection]:
    """Lend a connection; raise `LedgerUnavailable` or `LedgerRefused` for what goes wrong."""
    try:
        with engine.connect() as lent:
            try:
                yield lent
            except psycopg.OperationalError:
                # Of what was run past SQLAlchemy it does not know that the connection is lost.
                if lent.connection.driver_connection.closed:  # type: ignore[union-attr]
                    lent.invalidate()
                raise
    except DBAPIError as error:
        raise _mapped(error.orig) from None
    except psycopg.Error as error:
        raise _mapped(error) from None
    except UnicodeEncodeError:
        raise LedgerRefused("a text cannot be encoded") from None
    except PoolTimeout:
        raise LedgerUnavailable("no database connection was free for 10 s") from None
    except SQLAlchemyError as error:
        raise LedgerUnavailable(type(error).__name__) from None


def execute(engine: Engine, statement: TextClause, **values: object) -> Sequence[Any]:
    """Execute one statement as a transaction of its own and return its rows."""
    with connection(engine) as database:
        result = database.execute(statement, values)
        return result.all() if result.returns_rows else []


# libpq's own fixed words; its whole text may quote a host or a user, so only ours go on.
_REASONS = {
    "certificate verify failed": "the certificate's CA is not the one in sslrootcert",
    "does not match host name": "the certificate names another host",
    "does not support SSL": "the server speaks no TLS",
    "password authentication failed": "user or password is wrong",
    "Connection refused": "connection refused",
    "timeout expired": "no answer in time",
}


_CONTENDED = {
    "40001": "another transaction changed the same rows",
    "40P01": "a deadlock with another transaction",
    "55P03": "a lock is held by another session",
}


def _why(error: BaseException | None) -> str:
    words = str(error)
    found = (reason for known, reason in _REASONS.items() if known in words)
    return next(found, type(error).__name__)


def _mapped(error: BaseException | None) -> LedgerUnavailable | LedgerRefused:
    """Tell data that can never be stored (classes 22 and 23) from a database in trouble.

    The driver's message may quote values, so only its SQLSTATE and type go on.
    """
    state = getattr(error, "sqlstate", None)
    if state is None:
        return LedgerUnavailable(f"no connection ({_why(error)})")
    if state in _CONTENDED:
        return LedgerContended(_CONTENDED[state])
    if state == "57014":
        return LedgerUnavailable("a statement took too long")
    if state[:2] in ("22", "23"):
        return LedgerRefused(f"SQLSTATE {state}")
    if state in ("42P01", "3F000", "42703"):
        return LedgerUnavailable("the schema is not there: run `alembic upgrade head`")
    return LedgerUnavailable(f"SQLSTATE {state}")
