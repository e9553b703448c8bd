"""The registry of workers: what each does now, why it is parked, and when it probes next.

Workers of the last release have no row; their calls and leases show that they are there.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _count(name: str, comment: str) -> sa.Column[int]:
    zero = sa.text("0")
    return sa.Column(name, sa.Integer(), server_default=zero, nullable=False, comment=comment)


def _time(name: str, comment: str, *, always: bool = True) -> sa.Column[object]:
    default = sa.text("now()") if always else None
    kind = sa.DateTime(timezone=True)
    return sa.Column(name, kind, server_default=default, nullable=not always, comment=comment)


def upgrade() -> None:
    op.create_table(
        "worker",
        sa.Column("name", sa.Text(), nullable=False, comment="Host, pid and a random part."),
        sa.Column("mode", sa.Text(), nullable=False, comment="live or sandbox."),
        sa.Column("version", sa.Text(), nullable=False, comment="Its release."),
        _time("started_at", "When it began."),
        _time("seen_at", "When it said so; a running worker does every few seconds."),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="working, parked, probing or not ready."
        ),
        sa.Column(
            "reason", sa.Text(), nullable=True, comment="Why, where it does not simply work."
        ),
        _time("probe_at", "When a parked worker tries the provider again.", always=False),
        _count("held", "Messages delivered to it and not acknowledged."),
        _count("claimed", "Requests with a lease of its own that are not recorded."),
        _count("calls_under_way", "Its calls that have no end yet."),
        _count("calls_allowed", "How many may be under way at once."),
        _count("returned", "Messages given up by the broker that it has put back."),
        sa.PrimaryKeyConstraint("name", name=op.f("worker_pkey")),
        schema="verification",
        comment="One row per running worker, which it refreshes; for the command status.",
        postgresql_with={"fillfactor": "50"},
    )
    grants = "SELECT, INSERT, UPDATE, DELETE"
    op.execute(f"GRANT {grants} ON verification.worker TO verification_worker")


def downgrade() -> None:
    op.drop_table("worker", schema="verification")
