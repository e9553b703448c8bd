"""Why a call was not sent: a column of the calls, and of their view at its end.

A nullable column without a default is added without a look at the rows, and workers of the last
release leave it empty.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

from migrations.steps import alone, comment_on, make_anew

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COMMENT = "Why no byte of it left: dns, refused, tls_untrusted, proxy, …"
_QUERY = """
SELECT request_id, call_number, mode, worker, started_at, finished_at, class, http_status,
       status, provider_request_id, charged, sends, milliseconds{}
  FROM verification.provider_call"""


def upgrade() -> None:
    query = _QUERY.format(", not_sent_because")
    alone(
        "ALTER TABLE verification.provider_call ADD COLUMN IF NOT EXISTS not_sent_because text",
        comment_on("COLUMN verification.provider_call.not_sent_because", _COMMENT),
        f"CREATE OR REPLACE VIEW verification_v1.calls AS {query}",
        comment_on("COLUMN verification_v1.calls.not_sent_because", _COMMENT),
    )


def downgrade() -> None:
    """Make the view anew, for no column is taken from one; what was built on it is in the way."""
    make_anew("calls", _QUERY.format(""))
    op.drop_column("provider_call", "not_sent_because", schema="verification")
