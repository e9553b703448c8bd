"""What the relay and retention go by.

No rights are given here. Retention runs in the worker and as its role, which may delete from both
tables since 0002. A role of its own would need a connection and a secret of its own in the same
process, so whoever has the one has the other; and a role that may update every column, as the
ledger must, can destroy as much without DELETE.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

from migrations.steps import add_column, build_index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIMES = {
    "event_retry_at": "Until when an unsent event is left to the relay that took it; it may have "
    "crashed.",
    "settled_at": "When the broker had confirmed all that the message caused.",
    "cleared_at": "When masked data, digest and context were cleared; the rest stays.",
}
_INDEXES = {
    "request_kept_idx": "event_sent_at IS NOT NULL AND cleared_at IS NULL",
    "request_cleared_idx": "cleared_at IS NOT NULL",
}


def upgrade() -> None:
    for name, words in _TIMES.items():
        add_column("request", name, "timestamptz", words)
    for name, condition in _INDEXES.items():
        build_index(name, f"verification.request (mode, completed_at) WHERE {condition}")


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, table_name="request", schema="verification")
    op.drop_column("request", "cleared_at", schema="verification")
    op.drop_column("request", "settled_at", schema="verification")
    op.drop_column("request", "event_retry_at", schema="verification")
