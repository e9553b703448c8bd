"""The way to PostgreSQL: one small pool, and what each of its sessions is set to.

Through a pooler that lends the server's sessions for one transaction (`DATABASE_POOLER`) whatever a
session remembers is another client's by the next. So nothing is prepared by name, and what limits
a session elsewhere goes before the first statement of each transaction, for that transaction. It
costs no round trip: both go in one pipeline, which is one transaction where there is no BEGIN.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Engine, TextClause, create_engine, event, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.ports import DatabaseUnfit, LedgerRefused, LedgerUnavailable
from worker.store.address import connection_parameters
from worker.store.database_errors import UNNAMED_POOLER, condemns, mapped

DRIVER = "postgresql+psycopg://"
"""What SQLAlchemy is told; where the database is, the driver is told (`connection_arguments`)."""

# Claimer, recorder, housekeeper and pause watcher: a connection for each thread that uses the pool.
POOL_SIZE = 4

# Unless the URL says otherwise.
_CONNECT = {
    "connect_timeout": "5",
    # A database that vanished without a word is noticed after 20 s, not after the kernel's 15 min.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "20000",
}

# No statement of ours takes a second; one that waits longer waits for something broken.
# And times are written so that they can be read, whatever the database or the role is set to.
_LIMITS = {"statement_timeout": "30s", "lock_timeout": "10s", "datestyle": "ISO"}

# A worker's statements find their rows by keys, and a session keeps the plans that it has made.
# Made while the tables were small they would read all of them each time, until the next ANALYZE: in
# the first minute of a new database that was three times the server's work. So this is ruled out.
# And one plan serves all values: PostgreSQL would compare its cost with that of plans for the very
# values, make one anew for every second record, and after a busy hour without ANALYZE choose worse.
_BY_KEYS = {
    **dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"), "off"),
    "plan_cache_mode": "force_generic_plan",
}

# What a new session asks first. Its process number: a pooler has told another one at the login. And
# settings that promise too little: a commit must outlive a kill of the server, whatever is set for
# the database or the role, so a weaker `synchronous_commit` is raised and a stronger one kept.
# `fsync` and `full_page_writes` cannot be changed by a session.
_FIRST = """
SELECT pg_backend_pid(), name, reset_val,
       CASE name WHEN 'synchronous_commit' THEN set_config(name, 'on', %s) END
  FROM (VALUES (1)) AS always
  LEFT JOIN pg_settings
    ON name = 'synchronous_commit' AND reset_val NOT IN ('on', 'remote_apply')
    OR name IN ('fsync', 'full_page_writes') AND setting = 'off'
"""


_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class _UtcLoader(Loader):
    """Reads times as of UTC, as they are shown, whatever zone the server's sessions have."""

    def load(self, data: Any) -> datetime:
        text = bytes(data).decode()
        # Never, to some, is the calendar's last second or its first; in another zone that is a time
        # of the year 10000 or of 1 BC.
        if text[4] != "-":
            return _LATEST
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            return _EARLIEST


def connection_arguments(url: str, application_name: str) -> dict[str, Any]:
    """Return what the driver needs to connect; raise `SettingsInvalid` for a URL of no use."""
    # A name has characters that GBK, say, lacks: it could not be sent at all.
    ours = {"application_name": application_name[:63], "client_encoding": "utf8"}
    return {**_CONNECT, **connection_parameters(url), **ours}


def open_engine(
    url: str,
    application_name: str,
    *,
    by_keys: bool = False,
    pooled: bool = False,
    patience: int | None = None,
    on_weak: Callable[[Mapping[str, str]], None] = lambda _settings: None,
) -> Engine:
    """Return an engine that connects at first use; `by_keys` is for a worker's own statements.

    Every statement is its own transaction (autocommit): claim and record are one statement each,
    so a batch costs one round trip and no BEGIN. `pooled`: through a pooler that lends sessions for
    a transaction. `on_weak` learns at each new connection which of the server's settings promise
    less than that a commit lasts. `patience` is how many seconds a statement may take, where that
    is less than usual. Raises `SettingsInvalid` for a URL of no use; connecting raises
    `DatabaseUnfit` where a pooler is not named or the database's encoding is not UTF8.
    """
    arguments = connection_arguments(url, application_name)
    limits = dict(_LIMITS)
    if patience is not None:
        limits |= {"statement_timeout": f"{patience}s", "lock_timeout": f"{patience * 500}ms"}
    if by_keys:
        limits |= _BY_KEYS
    if pooled:
        arguments["prepare_threshold"] = None
        arguments["cursor_factory"] = limiting_cursor(limits)
    else:
        ours = [f"-c {name}={value}" for name, value in limits.items()]
        arguments["options"] = " ".join([arguments.get("options", ""), *ours])
    engine = create_engine(
        DRIVER,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,  # the server's memory of our statements is that of a connection
        pool_reset_on_return=None,
        hide_parameters=True,
        connect_args=arguments,
    )

    def look_at_session(new: psycopg.Connection[Any], _record: object) -> None:
        refuse_other_encodings(new)
        new.adapters.register_loader("timestamptz", _UtcLoader)
        rows = new.execute(_FIRST, (pooled,)).fetchall()  # for its transaction, or for good
        new.commit()
        if not pooled and rows[0][0] != new.info.backend_pid:
            new.close()
            raise DatabaseUnfit(UNNAMED_POOLER)
        if weak := {name: value for _, name, value, _ in rows if name is not None}:
            on_weak(weak)

    event.listen(engine, "connect", look_at_session)
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
    """Lend a connection; raise one of `worker.ports` for what goes wrong with it."""
    try:
        with engine.connect() as lent:
            try:
                yield lent
            except (DBAPIError, psycopg.Error) as error:
                # Of what was run past SQLAlchemy it does not know that the session is lost.
                if not lent.invalidated and condemns(error, lent.connection.driver_connection):
                    lent.invalidate()
                    # The others were made before it, and look at the same server.
                    engine.dispose()
                raise
    except DBAPIError as error:
        raise mapped(error.orig) from None
    except psycopg.Error as error:
        raise mapped(error) from None
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


# A stronger one is kept, as in a session of its own.
_DURABLE = """set_config('synchronous_commit',
 CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
 true)"""


def limiting_cursor(limits: Mapping[str, str]) -> type[psycopg.Cursor[Any]]:
    """Return the cursor that sets these limits and durable commits in each transaction."""
    settings = [f"set_config('{name}', '{value}', true)" for name, value in limits.items()]
    order = f"SELECT {', '.join([_DURABLE, *settings])}".encode()

    class LimitingCursor(psycopg.Cursor[Any]):
        """Puts the limits before whatever begins a transaction."""

        def execute(self, *arguments: Any, **options: Any) -> Self:
            if self.connection.info.transaction_status is not TransactionStatus.IDLE:
                return super().execute(*arguments, **options)
            with self.connection.pipeline():
                psycopg.Cursor(self.connection).execute(order)
                return super().execute(*arguments, **options)

    return LimitingCursor
