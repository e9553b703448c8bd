"""Alembic's environment: one upgrade at a time, however many start at once."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from alembic import context
from sqlalchemy import Connection, NullPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from migrations.steps import LOCK_TIMEOUT, StepRefused, patiently
from migrations.tables import SCHEMA, metadata
from worker.ports import DatabaseUnfit
from worker.settings import DatabaseSettings, SettingsInvalid, load
from worker.store.database_errors import UNNAMED_POOLER, mapped
from worker.store.engine import DRIVER, connection_arguments, refuse_other_encodings

if TYPE_CHECKING:
    import psycopg
    from alembic.runtime.migration import MigrationInfo
    from sqlalchemy import Engine

# Any fixed number: whoever holds this advisory lock is migrating.
_LOCK = 7_351_200_911
_POLL_SECONDS = 0.2

# What to do, by SQLSTATE; of another one only the server's own words can be told.
_ADVICE = {
    "40P01": "another session was in the way: run it again",
    "55P03": "another session holds a lock: run it again",
    "25006": "the server is read-only: DATABASE_URL must name the primary",
    "42501": "the login of DATABASE_URL lacks a right: it must own the schema",
    "57P01": "the database has ended the connection: run it again",
    "57P02": "the database has ended the connection: run it again",
    "57P03": "the database is starting or stopping: run it again",
}


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Compare our schema alone."""
    return kind != "schema" or name == SCHEMA


def say(ctx: object, step: MigrationInfo, *_: object, **__: object) -> None:  # noqa: ARG001
    """Print a line for each migration: it is all that a Job's log shows."""
    way = "upgrade" if step.is_upgrade else "downgrade"
    before, after = (
        ",".join(ids) for ids in (step.source_revision_ids, step.destination_revision_ids)
    )
    sys.stdout.write(f"Running {way} {before or 'base'} -> {after or 'base'}\n")


def wait_for_others(connection: Connection) -> None:
    """Take the session's advisory lock; who waits for it asks again, in transactions of its own.

    A session that waited for it inside a statement would be an old transaction, for which the
    build of an index waits: a deadlock.
    """
    told = False
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
        connection.commit()
        if not told:
            sys.stdout.write("Waiting for another upgrade to end\n")
            sys.stdout.flush()
            told = True
        time.sleep(_POLL_SECONDS)


def migrate(connection: Connection) -> None:
    """Run each migration in a transaction of its own, or in smaller ones (`migrations.steps`)."""
    wait_for_others(connection)
    # Better to fail than to queue every reader and writer behind a waiting statement.
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text("SET statement_timeout = 0"))  # an index takes as long as it takes
    # Looked at first: IF NOT EXISTS asks for the right to create it, even where it exists.
    if connection.scalar(text(f"SELECT to_regnamespace('{SCHEMA}') IS NULL")):
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    connection.commit()
    patiently(connection, partial(run_migrations, connection))


def run_migrations(connection: Connection) -> None:
    """Run those that are missing; one that meets a lock is undone, and is the first of a repeat."""
    connection.rollback()  # what asked who was in the way
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        include_name=include_name,
        compare_server_default=True,
        version_table_schema=SCHEMA,
        on_version_apply=say,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def owners_engine() -> Engine:
    """Return the way to the database, without a pool: the lock ends with the session.

    It is one of the server itself: a lock that a pooler's session keeps after the migration would
    stop the next one for ever.
    """
    url = load(DatabaseSettings).database_url.get_secret_value()
    arguments = connection_arguments(url, "alembic")
    arguments["options"] = " ".join([arguments.get("options", ""), "-c verification.direct=yes"])
    engine = create_engine(DRIVER, hide_parameters=True, poolclass=NullPool, connect_args=arguments)

    def prepare(new: psycopg.Connection[Any], _record: object) -> None:
        refuse_other_encodings(new)
        row = new.execute("SELECT current_setting('verification.direct', true)").fetchone()
        if row != ("yes",):
            new.close()
            raise DatabaseUnfit(UNNAMED_POOLER)
        # Alembic tells a table without a schema from one in the path's first: ours must not be it.
        new.execute("SET search_path TO pg_catalog")
        new.commit()

    # First of all: SQLAlchemy asks a new connection what its default schema is.
    event.listen(engine, "connect", prepare, insert=True)
    return engine


def main() -> None:
    """Connect and migrate; whatever goes wrong is one line and exit code 2."""
    try:
        with owners_engine().connect() as connection:
            migrate(connection)
    except SettingsInvalid as invalid:
        _leave("\n".join(invalid.problems))
    except (StepRefused, DatabaseUnfit) as refusal:
        _leave(str(refusal))
    except SQLAlchemyError as error:
        _leave(_told(_first(error)))


def _first(error: BaseException) -> BaseException:
    """Return what came first: with a lost connection, what is done in the end fails as well."""
    while not isinstance(error, DBAPIError) and error.__context__ is not None:
        error = error.__context__
    return error


def _told(error: BaseException) -> str:
    if not isinstance(error, DBAPIError):
        return f"the migration failed ({type(error).__name__})"
    if (state := getattr(error.orig, "sqlstate", None)) is None:
        fault = mapped(error.orig)
        is_unfit = isinstance(fault, DatabaseUnfit)
        return str(fault) if is_unfit else f"DATABASE_URL: the database does not answer ({fault})"
    words = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
    return f"{_ADVICE.get(state, 'the migration failed')} ({words}, SQLSTATE {state})"


def _leave(words: str) -> NoReturn:
    sys.stderr.write(f"{words}\n")
    sys.exit(2)


main()
