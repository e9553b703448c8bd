"""Why a call was not sent: a column of the calls, and of their view at its end.

A nullable column without a default is added without a look at the rows, and workers of the last
release leave it empty. The view is locked first, as its readers do: in the other order an upgrade
and a reader would wait for each other.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COMMENT = "Why no byte of it left: dns, refused, tls_untrusted, proxy, …"
_QUERY = """
SELECT request_id, call_number, mode, worker, started_at, finished_at, class, http_status,
       status, provider_request_id, charged, sends, milliseconds{}
  FROM verification.provider_call"""
_COMMENTS = """
SELECT attname, col_description(attrelid, attnum), obj_description(attrelid)
  FROM pg_attribute
 WHERE attrelid = 'verification_v1.calls'::regclass AND attnum > 0
"""


def upgrade() -> None:
    op.execute("LOCK TABLE verification_v1.calls IN ACCESS EXCLUSIVE MODE")
    op.add_column(
        "provider_call",
        sa.Column("not_sent_because", sa.Text(), nullable=True, comment=_COMMENT),
        schema="verification",
    )
    query = _QUERY.format(", not_sent_because")
    op.execute(f"CREATE OR REPLACE VIEW verification_v1.calls AS {query}")
    op.execute(f"COMMENT ON COLUMN verification_v1.calls.not_sent_because IS '{_COMMENT}'")


def downgrade() -> None:
    """Make the view anew, for no column is taken from one; what was built on it is in the way."""
    comments = list(op.get_bind().execute(sa.text(_COMMENTS)))
    op.execute("DROP VIEW verification_v1.calls")
    op.execute(f"CREATE VIEW verification_v1.calls AS {_QUERY.format('')}")
    for column, words, of_view in comments:
        if column == "not_sent_because":
            continue
        for on, said in (
            (f"COLUMN verification_v1.calls.{column}", words),
            ("VIEW verification_v1.calls", of_view),
        ):
            quoted = said.replace("'", "''")
            op.execute(f"COMMENT ON {on} IS '{quoted}'")
    op.execute("GRANT SELECT ON verification_v1.calls TO verification_reader")
    op.drop_column("provider_call", "not_sent_because", schema="verification")
