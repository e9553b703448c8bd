"""When a request was published, and whose a call was: so that a backlog is seen, and a day's costs.

The time from the first claim to the end says nothing of a queue in which requests waited before.
A call keeps its request's source, check type and time of publication, for a day's calls are counted
by them, and to look into a million requests for that would take minutes. All are null in rows of
before, and in those that workers of the last release write.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alembic import context, op

from migrations.steps import add_column, alone, build_index, comment_on, make_anew

if TYPE_CHECKING:
    from collections.abc import Mapping

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_PUBLISHED = "When it was published: AMQP's timestamp; null where the publisher set none."
_OF_CALLS = {
    "source": ("text", "Publishing system of its request; null: from before this was kept."),
    "check_type": ("smallint", "Check type of its request; null likewise."),
    "published_at": ("timestamptz", _PUBLISHED),
}
_NEW: dict[str, dict[str, tuple[str, str]]] = {
    "results": {
        "published_at": ("published_at", _PUBLISHED),
        "waited": (
            "greatest(requested_at - published_at, interval '0') AS waited",
            "Wait in the queue before a worker saw it, to the second; null where nobody knows.",
        ),
    },
    "open_requests": {"published_at": ("published_at", _PUBLISHED)},
    "changes": {"published_at": ("published_at", _PUBLISHED)},
    "calls": {name: (name, words) for name, (_, words) in _OF_CALLS.items()},
    "daily_calls": {
        name: (name, f"{_OF_CALLS[name][1]} Sum over it for all.")
        for name in ("source", "check_type")
    },
}


def _before() -> Mapping[str, str]:
    """Return each view's query as it was."""

    def of(number: str) -> Any:
        return context.script.get_revision(number).module

    of_0006, reused = of("0006"), ", reused_from\n  FROM"
    return {
        "results": of_0006._RESULTS.replace("\n  FROM", reused, 1),
        "changes": of("0010")._changes(of("0010")._ENDS).partition(" AS ")[2],
        "open_requests": of("0002")._VIEWS["open_requests"][1],
        "calls": of("0009")._QUERY.format(", not_sent_because"),
        "daily_calls": of_0006._DAILY_CALLS,
    }


def _after(view: str, query: str) -> str:
    if view == "daily_calls":
        names = ", ".join(_NEW[view])
        query = query.replace("charged, calls\n", f"charged, calls, {names}\n", 1)
        query = query.replace("count(*) AS calls", f"count(*) AS calls, {names}", 1)
        return query.replace("GROUP BY 1, 2, 3)", "GROUP BY 1, 2, 3, 5, 6)", 1)
    head, tail = re.split(r"\s+FROM verification\.", query, maxsplit=1)
    columns = ", ".join(expression for expression, _ in _NEW[view].values())
    return f"{head}, {columns}\n  FROM verification.{tail}"


def upgrade() -> None:
    add_column("request", "published_at", "timestamptz", _PUBLISHED)
    for name, (kind, words) in _OF_CALLS.items():
        add_column("provider_call", name, kind, words)
    for view, query in _before().items():
        alone(
            f"CREATE OR REPLACE VIEW verification_v1.{view} AS {_after(view, query)}",
            *(
                comment_on(f"COLUMN verification_v1.{view}.{name}", words)
                for name, (_, words) in _NEW[view].items()
            ),
        )
    build_index("request_completed_at_idx", "verification.request USING brin (completed_at)")


def downgrade() -> None:
    """Make the views anew, for no column is taken from one; views on them are in the way."""
    op.drop_index("request_completed_at_idx", table_name="request", schema="verification")
    for view, query in _before().items():
        make_anew(view, query)
    for name in _OF_CALLS:
        op.drop_column("provider_call", name, schema="verification")
    op.drop_column("request", "published_at", schema="verification")
