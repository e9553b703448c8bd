"""The quota of calls that all workers share.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "call_quota",
        sa.Column("mode", sa.Text(), nullable=False, comment="live or sandbox."),
        sa.Column(
            "next_call_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="The next free place for a call of any worker.",
        ),
        sa.Column(
            "day",
            sa.Date(),
            nullable=False,
            comment="Calendar day in Asia/Shanghai of calls_today.",
        ),
        sa.Column(
            "calls_today",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls that all workers intended on that day, against the budget.",
        ),
        sa.CheckConstraint("mode IN ('live', 'sandbox')", name=op.f("call_quota_mode_check")),
        sa.CheckConstraint("calls_today >= 0", name=op.f("call_quota_calls_today_check")),
        sa.PrimaryKeyConstraint("mode", name=op.f("call_quota_pkey")),
        schema="verification",
        comment="One row per mode: what all workers have used of the limits on calls.",
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON verification.call_quota TO verification_worker")


def downgrade() -> None:
    op.drop_table("call_quota", schema="verification")
