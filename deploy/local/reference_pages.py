"""Writes the second halves of two pages: what the code, and a migrated database, say of themselves.

    ./deploy/local/settings-reference       # deploy/SETTINGS.md
    ./deploy/local/data-dictionary          # deploy/DATA.md, from a database of its own

The guide above the mark is written by hand and stays.
"""

import os
import re
import sys
import uuid
from pathlib import Path

import psycopg
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from local_errors import StackError
from local_process import run
from local_stack import Servers
from worker.settings import Settings
from worker.settings.environment import is_secret
from worker.settings.values import delay_name

_PAGES = Path(__file__).resolve().parents[1]
SETTINGS, DATA = _PAGES / "SETTINGS.md", _PAGES / "DATA.md"

MARK = r"(<!-- Below: written by deploy/local/.* -->\n)"

# People's views first, in the order in which one meets them; what the worker keeps after them.
_SCHEMAS = ["verification_v1", "verification"]

_COLUMNS = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
       obj_description(n.oid, 'pg_namespace'), obj_description(c.oid, 'pg_class'),
       col_description(c.oid, a.attnum)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p', 'v', 'm')
 ORDER BY array_position(%s, n.nspname::text), c.relname, a.attnum
"""


class CommentMissing(StackError):
    """Something in the database does not say what it is."""


def dictionary(database: psycopg.Connection) -> str:
    """Return the dictionary of a migrated database; raise CommentMissing naming what has none."""
    lines: list[str] = []
    told = None
    for schema, relation, name, kind, *comments in database.execute(_COLUMNS, (_SCHEMAS, _SCHEMAS)):
        table = f"{schema}.{relation}"
        if told is None or told[0] != schema:
            lines += [f"\n## Schema `{schema}`\n", _said(comments[0], schema)]
        if told != (schema, relation):
            lines += [f"\n### `{table}`\n", _said(comments[1], table)]
            lines += ["\n| column | type | |", "|---|---|---|"]
        told = (schema, relation)
        lines.append(f"| `{name}` | {kind} | {_said(comments[2], f'{table}.{name}')} |")
    return "\n".join(lines) + "\n"


def _said(comment: str | None, what: str) -> str:
    if not comment:
        raise CommentMissing(f"{what} has no COMMENT: give it one in its migration")
    return comment.replace("|", "\\|")


def _migrated() -> str:
    """Return the dictionary of a database that is made for it, and is gone then."""
    # The broker's address is only named, not dialled: nothing but the database has to be started.
    with Servers({**os.environ, "AMQP_URL": "amqp://unused"}, durable=False) as servers:
        name = f"dictionary_{uuid.uuid4().hex}"
        url = servers.database.create_database(name)
        try:
            upgrade = [sys.executable, "-m", "alembic", "upgrade", "head"]
            run(upgrade, {**os.environ, "DATABASE_URL": url}, _PAGES.parent)
            with psycopg.connect(url) as database:
                return dictionary(database)
        finally:
            servers.database.drop_database(name)


def reference() -> str:
    """Return the table of the settings."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join(["", "| setting | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    variable = f"`{name.upper()}`" + (f", `{name.upper()}_FILE`" if is_secret(field) else "")
    meaning = (field.description or "").replace("|", "\\|").replace("\n", " ")
    default = _default(name, field).replace("|", "\\|")
    return f"| {variable} | {default} | {meaning} |"


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "" or isinstance(value, SecretStr):
        return "–"
    if name == "retry_delays":
        return ",".join(map(delay_name, value))
    if name == "give_up_after":
        return delay_name(int(value))
    return str(value)


def renewed(page: str, table: str) -> str:
    """Return the page with what is below the mark written anew."""
    guide, mark, _ = re.split(MARK, page)
    return guide + mark + table


def main(which: str) -> None:
    """Write the page of the settings anew, or that of the data."""
    page = SETTINGS if which == "settings" else DATA
    try:
        table = reference() if page == SETTINGS else _migrated()
    except (StackError, psycopg.Error) as mistake:
        sys.exit(f"reference_pages.py: {mistake}")
    page.write_text(renewed(page.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
