"""Vacuum the tables of requests and calls before a fifth of them has changed.

Every request passes through the partial indexes of what is open and of what is unsent, and leaves
two dead rows behind: no update of it is a HOT one. By autovacuum's default that piles up to a fifth
of a table that keeps years, at ten million rows a million requests, and each look at the backlog
reads the pages that they left empty. Sooner than at a twentieth would be of no use: where under
2 % of a table's pages hold dead rows, a vacuum leaves the indexes alone.

Storage parameters take a lock that no reader or writer waits for. Fill factors stay as they are.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = ("request", "provider_call")
_PARAMETERS = ("autovacuum_vacuum_scale_factor", "autovacuum_analyze_scale_factor")


def upgrade() -> None:
    for table in _TABLES:
        values = ", ".join(f"{name} = 0.05" for name in _PARAMETERS)
        op.execute(f"ALTER TABLE verification.{table} SET ({values})")


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"ALTER TABLE verification.{table} RESET ({', '.join(_PARAMETERS)})")
