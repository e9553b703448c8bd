"""Changes whose numbers go on after the rows have moved to another server.

Transaction ids belong to a server. One that a dump was restored into begins low: the view `changes`
hid the old rows, whose numbers lay beyond its end, and numbered new ones below what readers had
seen. So a change is now the epoch times 10^12 and the transaction's id, and each move begins a new
epoch (`verification-worker restore-check --repair`). In the first, 0, the numbers are what they
were. 10^12 transactions are thirty years of a thousand a second, and 9,000 epochs of them are still
exact in a JSON number.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from typing import Any

from alembic import context

from migrations.steps import alone, comment_on

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_EPOCH = "verification.change_epoch"
_TABLE = f"""
CREATE TABLE IF NOT EXISTS {_EPOCH} (
  single boolean NOT NULL DEFAULT true,
  epoch bigint NOT NULL DEFAULT 0,
  server text NOT NULL,
  CONSTRAINT change_epoch_pkey PRIMARY KEY (single),
  CONSTRAINT change_epoch_single_check CHECK (single),
  CONSTRAINT change_epoch_epoch_check CHECK (epoch BETWEEN 0 AND 9000))"""
_COMMENTS = {
    f"TABLE {_EPOCH}": "One row: which epoch the numbers of changes are of.",
    f"COLUMN {_EPOCH}.single": "Always true: there is one row.",
    f"COLUMN {_EPOCH}.epoch": "How often the rows have moved to another server or timeline.",
    f"COLUMN {_EPOCH}.server": "Where this epoch began: the server's system identifier, timeline.",
    "COLUMN verification.request.changed_in": "Epoch and transaction that saved the outcome, or "
    "cleared it later: see the view changes.",
    "COLUMN verification_v1.changes.change": "The transaction that saved the outcome or cleared "
    "the row, after 10^12 for each move to another server; 0 for what was finished before the "
    "database knew changes. All rows of one transaction have the same: FETCH FIRST … WITH TIES.",
}
_FIRST = f"""
INSERT INTO {_EPOCH} (server)
SELECT system_identifier || '/' || timeline_id FROM pg_control_system(), pg_control_checkpoint()
    ON CONFLICT DO NOTHING"""
# The trigger's function has the number in its text: looked up for each row it would cost as much
# again as the whole trigger.
_BEGIN = """
CREATE OR REPLACE FUNCTION verification.begin_change_epoch(number bigint, here text) RETURNS void
LANGUAGE plpgsql AS $begin$
BEGIN
  UPDATE verification.change_epoch SET epoch = number, server = here;
  EXECUTE pg_catalog.format($stamp$
CREATE OR REPLACE FUNCTION verification.stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_in := pg_catalog.pg_current_xact_id()::text::bigint + %s;
  RETURN NEW;
END $$ $stamp$, number * 1000000000000);
END $begin$"""
_BEGIN_EPOCH = "FUNCTION verification.begin_change_epoch(bigint, text)"
_END = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_ENDS = f"changed_in < {_END} + (SELECT epoch * 1000000000000 FROM {_EPOCH})"


def upgrade() -> None:
    alone(
        _TABLE,
        _FIRST,
        _BEGIN,
        f"REVOKE ALL ON {_BEGIN_EPOCH} FROM PUBLIC",
        comment_on(_BEGIN_EPOCH, "Lets the numbers of changes go on in another epoch."),
        f"SELECT verification.begin_change_epoch(epoch, server) FROM {_EPOCH}",
        _changes(_ENDS),
        *(comment_on(what, words) for what, words in _COMMENTS.items()),
    )


def downgrade() -> None:
    """Go back to bare transaction ids: what has a higher number is not seen until it is reached."""
    older = _module("0006")
    alone(
        _changes(f"changed_in < {_END}"),
        older._STAMP,
        f"DROP FUNCTION IF EXISTS {_BEGIN_EPOCH.removeprefix('FUNCTION ')}",
        f"DROP TABLE IF EXISTS {_EPOCH}",
        comment_on("COLUMN verification_v1.changes.change", older._CHANGE),
        comment_on(
            "COLUMN verification.request.changed_in",
            "Transaction that saved the outcome, or cleared it later: see the view changes.",
        ),
    )


def _changes(ends: str) -> str:
    """Return the statement that gives the view of 0007 another end."""
    columns, _, _ = _module("0006")._CHANGES.rpartition("AND changed_in <")
    columns = columns.replace("\n  FROM", ", reused_from\n  FROM", 1)
    return f"CREATE OR REPLACE VIEW verification_v1.changes AS {columns} AND {ends}"


def _module(revision: str) -> Any:
    return context.script.get_revision(revision).module
