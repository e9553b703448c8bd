"""Two lanes: which one a request came by, and what bulk has of the calls that all workers share.

Workers of the release before write null for the lane, which is live, and leave what they do not
know of the quota as it is: bulk's calls have a day of their own, for such a worker begins a new one
without them.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import context, op

from migrations.steps import add_column, alone, comment_on, make_anew

if TYPE_CHECKING:
    from collections.abc import Mapping

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_LANE = "bulk where the request came by the bulk lane; null: by the live one."
_OF_THE_QUOTA = {
    "live_at": ("timestamptz", "When a place was given to a live request last."),
    "bulk_credit": (
        "integer NOT NULL DEFAULT 0",
        "What bulk is owed: BULK_SHARE for each live call, less its own.",
    ),
    "bulk_day": ("date", "Calendar day in Asia/Shanghai of bulk_calls."),
    "bulk_calls": ("integer NOT NULL DEFAULT 0", "Those of calls_today that are bulk's."),
}
_IN_VIEWS = "live or bulk: by which lane the request came."


def _before() -> Mapping[str, str]:
    """Return the queries of the views with a request's row each, as they were."""
    of_0013: Any = context.script.get_revision("0013").module
    of_0014: Any = context.script.get_revision("0014").module
    waiting = of_0013._after("open_requests", of_0013._before()["open_requests"])
    return {**of_0014._after(), "open_requests": waiting}


def upgrade() -> None:
    add_column("request", "lane", "text", _LANE)
    for name, (kind, words) in _OF_THE_QUOTA.items():
        add_column("call_quota", name, kind, words)
    for view, query in _before().items():
        lane = ",\n       coalesce(lane, 'live') AS lane\n  FROM verification."
        alone(
            f"CREATE OR REPLACE VIEW verification_v1.{view} AS "
            + query.replace("\n  FROM verification.", lane, 1),
            comment_on(f"COLUMN verification_v1.{view}.lane", _IN_VIEWS),
        )


def downgrade() -> None:
    for view, query in _before().items():
        make_anew(view, query)
    for name in _OF_THE_QUOTA:
        op.drop_column("call_quota", name, schema="verification")
    op.drop_column("request", "lane", schema="verification")
