"""When a waiting request's next attempt is due, so that no copy of its message comes before it.

Rows that wait already, and those that workers of the last release leave, have none: they are due at
once. A nullable column without a default is added without a look at the rows. And the comment of a
call's class names the one that is new, `foreign`.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

from migrations.steps import add_column, alone

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_CLASS = (
    "COMMENT ON COLUMN verification_v1.calls.class IS 'answered, source_failed, protocol_error,"
    " refused, credentials, quota, throttled, unavailable, {}not_sent or in_doubt.'"
)


def upgrade() -> None:
    words = "When the next attempt of a waiting request is due; null: at once."
    add_column("request", "due_at", "timestamptz", words)
    alone(_CLASS.format("foreign, "))


def downgrade() -> None:
    op.execute(_CLASS.format(""))
    op.drop_column("request", "due_at", schema="verification")
