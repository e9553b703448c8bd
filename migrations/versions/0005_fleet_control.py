"""The order of people that all workers follow: a pause.

One row for everybody, whatever the mode: who pauses the fleet wants no call from anywhere.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fleet_control",
        sa.Column(
            "single",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Always true: there is one row at most.",
        ),
        sa.Column(
            "paused_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Since when no worker may begin a call; null: they work.",
        ),
        sa.Column("paused_by", sa.Text(), nullable=True, comment="Who ordered the pause."),
        sa.Column(
            "reason", sa.Text(), nullable=True, comment="Why, in the words of who ordered it."
        ),
        sa.CheckConstraint("single", name=op.f("fleet_control_single_check")),
        sa.CheckConstraint(
            "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (reason IS NULL)",
            name=op.f("fleet_control_paused_check"),
        ),
        sa.PrimaryKeyConstraint("single", name=op.f("fleet_control_pkey")),
        schema="verification",
        comment="What people order all workers at once; without a row they work.",
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON verification.fleet_control TO verification_worker")


def downgrade() -> None:
    op.drop_table("fleet_control", schema="verification")
