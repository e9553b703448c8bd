"""Which key a row's digests are made with, and whose answer it was given.

Rows from before keep a null key: their digests fit whatever key they were made with. No index is
added: a key's rows are counted by a person once in a rotation, and an answer to be given again is
found by its subject. The views end with the new column, as a replacement must.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

from migrations.steps import add_column, alone, comment_on, make_anew

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FINGERPRINT = "Keyed digest of what is asked; the same id with another one is a conflict."
_REUSED_FROM = "The request whose paid answer was given again here, without a call."


def upgrade() -> None:
    key = "Id of the DIGEST_KEY of both digests; null: from before keys had ids."
    add_column("request", "digest_key", "text", key)
    add_column("request", "reused_from", "text", _REUSED_FROM)
    words = f"{_FINGERPRINT} Empty where the person was erased."
    alone(comment_on("COLUMN verification.request.fingerprint", words))
    for view in ("results", "changes"):
        query = _of_0006(f"_{view.upper()}").replace("\n  FROM", ", reused_from\n  FROM", 1)
        alone(
            f"CREATE OR REPLACE VIEW verification_v1.{view} AS {query}",
            comment_on(f"COLUMN verification_v1.{view}.reused_from", _REUSED_FROM),
        )


def downgrade() -> None:
    """Go back to the views of 0006; what people have built on them is in the way."""
    for view in ("results", "changes"):
        make_anew(view, _of_0006(f"_{view.upper()}"))
    op.alter_column(
        "request",
        "fingerprint",
        existing_type=sa.LargeBinary(),
        existing_nullable=False,
        comment=_FINGERPRINT,
        schema="verification",
    )
    op.drop_column("request", "reused_from", schema="verification")
    op.drop_column("request", "digest_key", schema="verification")


def _of_0006(constant: str) -> str:
    query: Any = getattr(context.script.get_revision("0006").module, constant)
    return str(query)
