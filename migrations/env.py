"""Alembic's environment: one upgrade at a time, however many start at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from worker.ports import DatabaseUnfit
from worker.settings import DatabaseSettings, SettingsInvalid, load
from worker.store.database_errors import mapped
from worker.store.engine import open_for_migrations
from worker.store.tables import SCHEMA, metadata

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationInfo

# Any fixed number: whoever holds this advisory lock is migrating.
_LOCK = 7_351_200_911


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Compare our schema alone."""
    return kind != "schema" or name == SCHEMA


def say(ctx: object, step: MigrationInfo, *_: object, **__: object) -> None:  # noqa: ARG001
    """Tell of each migration: it is all that a Job's log has to show."""
    way = "upgrade" if step.is_upgrade else "downgrade"
    before, after = (
        ",".join(ids) for ids in (step.source_revision_ids, step.destination_revision_ids)
    )
    sys.stdout.write(f"Running {way} {before or 'base'} -> {after or 'base'}\n")


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
        on_version_apply=say,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Connect and migrate; a mistake of the user is one line and exit code 2."""
    try:
        # No pool: the lock ends with the session.
        engine = open_for_migrations(load(DatabaseSettings).database_url.get_secret_value())
        with engine.connect() as connection:
            migrate(connection)
    except SettingsInvalid as invalid:
        _leave("\n".join(invalid.problems))
    except DatabaseUnfit as refusal:
        _leave(str(refusal))
    except OperationalError as error:
        fault = mapped(error.orig)
        is_unfit = isinstance(fault, DatabaseUnfit)
        _leave(str(fault) if is_unfit else f"DATABASE_URL: the database does not answer ({fault})")


def _leave(words: str) -> NoReturn:
    sys.stderr.write(f"{words}\n")
    sys.exit(2)


main()
