"""Changes of tables and views that people read and workers write meanwhile.

Who waits for a lock lets everybody wait who comes after. So each statement is a transaction of its
own, which locks one thing, gives up after a moment, lets the others pass and tries again. Two locks
in one transaction would deadlock with readers: they lock a view and then its table.

A migration that breaks off in between is repeated from its beginning: what is run here must find
its work done (IF NOT EXISTS, OR REPLACE).
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable

# For so long nobody may read or write while a statement waits for its lock. More than
# deadlock_timeout (1 s), for only then a running autovacuum gives way.
LOCK_TIMEOUT = "1500ms"
# Those who have stood still meanwhile read and write first.
_PAUSE = 1.0
# 2.5 s a try: five minutes. An analyst's session may be idle in a transaction for one of them.
_TRIES = 120
_CONTENDED = ("55P03", "40P01")

# Whoever holds a lock on something of ours for the longest time.
_HOLDER = sa.text("""
SELECT a.pid, a.usename, a.application_name, a.xact_start FROM pg_stat_activity AS a
 WHERE a.pid <> pg_backend_pid() AND EXISTS (
   SELECT FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
    WHERE l.pid = a.pid AND l.granted AND a.datname = current_database()
      AND c.relnamespace IN (to_regnamespace('verification'), to_regnamespace('verification_v1')))
 ORDER BY a.xact_start LIMIT 1""")

_INVALID = sa.text("""
SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)""")

_SAID = sa.text("""
SELECT attname, col_description(attrelid, attnum) AS of_column, obj_description(attrelid) AS of_view
  FROM pg_attribute WHERE attrelid = CAST(:view AS regclass) AND attnum > 0""")


class StepRefused(Exception):
    """A step cannot be made; its words say what to do first."""


def alone(*statements: str) -> None:
    """Run each statement as a transaction of its own, as patiently as need be."""
    with op.get_context().autocommit_block():
        for statement in statements:
            patiently(op.get_bind(), partial(op.execute, statement))


def add_column(table: str, name: str, kind: str, comment: str) -> None:
    """Add a column to a table of schema `verification`; without a default that rows compute."""
    alone(
        f"ALTER TABLE verification.{table} ADD COLUMN IF NOT EXISTS {name} {kind}",
        comment_on(f"COLUMN verification.{table}.{name}", comment),
    )


def make_anew(view: str, query: str) -> None:
    """Take columns from a view that people read: the query has fewer, and no REPLACE does that.

    What is said of it and its readers' right stay; what people have built on it is in the way.
    """
    name, database = f"verification_v1.{view}", op.get_bind()
    said = database.execute(_SAID, {"view": name}).all()
    op.execute(f"DROP VIEW {name}")
    op.execute(f"CREATE VIEW {name} AS {query}")
    op.execute(comment_on(f"VIEW {name}", said[0].of_view))
    columns = {row.attname for row in database.execute(_SAID, {"view": name})}
    for row in said:
        if row.attname in columns:
            op.execute(comment_on(f"COLUMN {name}.{row.attname}", row.of_column))
    op.execute(f"GRANT SELECT ON {name} TO verification_reader")


def build_index(name: str, on: str) -> None:
    """Build an index of schema `verification` while others read and write.

    It waits for every transaction that is older, and stands in nobody's way. What a build that was
    interrupted has left behind is of no use, and is built anew.
    """
    index = f"verification.{name}"

    def build() -> None:
        if op.get_bind().scalar(_INVALID, {"name": index}):
            op.execute(f"DROP INDEX CONCURRENTLY {index}")
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}")

    sys.stdout.write(f"Building index {index}\n")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        patiently(op.get_bind(), build)
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def comment_on(what: str, words: str) -> str:
    """Return the statement that comments on a column, a view or a function."""
    quoted = words.replace("'", "''")
    return f"COMMENT ON {what} IS '{quoted}'"


def patiently(connection: sa.Connection, step: Callable[[], None]) -> None:
    """Do what may meet a lock that others hold, again and again; it must undo itself.

    Raises `StepRefused` that names who held it all the time.
    """
    for tries in range(1, _TRIES + 1):
        try:
            step()
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in _CONTENDED:
                raise
            holder = _holder(connection)
            if tries == 1:
                sys.stdout.write(f"Waiting for a lock that {holder} holds\n")
                sys.stdout.flush()
            time.sleep(_PAUSE)
        else:
            return
    raise StepRefused(f"a lock was never free: {holder} holds it; end that and run this again")


def _holder(connection: sa.Connection) -> str:
    """Return who is in the way, in words; of other users' sessions not all can be seen."""
    found = connection.execute(_HOLDER).first()
    if found is None:
        return "somebody else"
    since = "" if found.xact_start is None else f" since {found.xact_start:%H:%M:%S %Z}"
    return f"pid {found.pid} (user {found.usename}, {found.application_name or 'no name'}){since}"
