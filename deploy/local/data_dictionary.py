"""Writes the second half of deploy/DATA.md: what the migrated database says of itself.

    ./deploy/local/data-dictionary          # on a database of its own

With DATABASE_URL set, `python deploy/local/data_dictionary.py` reads that database instead. The
guide above the mark is written by hand and stays.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg

FILE = Path(__file__).resolve().parents[1] / "DATA.md"
MARK = "<!-- Below: written by deploy/local/data-dictionary from the comments in the database. -->"

# People's views first, in the order in which one meets them; what the worker keeps after them.
_SCHEMAS = ("verification_v1", "verification")

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


class CommentMissing(Exception):
    """Something in the database does not say what it is."""


def dictionary(database: psycopg.Connection) -> str:
    """Return the dictionary of a migrated database; raise CommentMissing naming what has none."""
    schemas = list(_SCHEMAS)
    lines: list[str] = []
    told = None
    for schema, relation, name, kind, *comments in database.execute(_COLUMNS, (schemas, schemas)):
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


def renewed(document: str, database: psycopg.Connection) -> str:
    """Return the document with its second half made anew."""
    guide, mark, _ = document.partition(MARK)
    return f"{guide}{mark}\n{dictionary(database)}"


def main() -> None:
    """Write the file anew from the database that DATABASE_URL names."""
    try:
        with psycopg.connect(os.environ["DATABASE_URL"]) as database:
            text = renewed(FILE.read_text(encoding="utf-8"), database)
    except KeyError:
        sys.exit("data_dictionary.py: set DATABASE_URL, or use ./deploy/local/data-dictionary")
    except (CommentMissing, psycopg.Error) as mistake:
        sys.exit(f"data_dictionary.py: {mistake}")
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
