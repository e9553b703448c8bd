"""Alembic's environment: one upgrade at a time, however many start at once."""

from __future__ import annotations

import os
import sys

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from worker.store.engine import database_url
from worker.store.tables import SCHEMA, metadata

# Any fixed number: whoever holds this advisory lock is migrating.
_LOCK = 7_351_200_911


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Compare our schema alone."""
    return kind != "schema" or name == SCHEMA


def migrate(connection: Connection) -> None:
    """Run the migrations in one transaction, behind a session advisory lock."""
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
    # Better to fail than to queue every reader and writer behind a waiting DDL statement.
    connection.execute(text("SET lock_timeout = '10s'"))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        include_name=include_name,
        compare_server_default=True,
        version_table_schema=SCHEMA,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Connect and migrate; a mistake of the user is one line."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("DATABASE_URL: is required, such as postgresql://user:password@host:5432/name")
    try:
        with create_engine(database_url(url), hide_parameters=True).connect() as connection:
            migrate(connection)
    except OperationalError as error:
        sys.exit(f"the database does not answer: {str(error.orig).strip().splitlines()[0]}")


main()
