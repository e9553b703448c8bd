"""When a waiting request's next attempt is due, so that no copy of its message comes before it.

Rows that wait already, and those that workers of the last release leave, have none: they are due at
once. A nullable column without a default is added without a look at the rows.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "request",
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the next attempt of a waiting request is due; null: at once.",
        ),
        schema="verification",
    )


def downgrade() -> None:
    op.drop_column("request", "due_at", schema="verification")
