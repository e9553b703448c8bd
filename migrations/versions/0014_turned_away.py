r"""What was turned away without a row, `context` as jsonb, and calls by the provider's own id.

Messages that contradict a known request, or that cannot be read, are counted by day, source and
reason: no personal data, and a bounded number of rows.

`context` is json in the views, and stays so: it is the publisher's text. What jsonb takes of it
stands beside it. Workers write nothing else; but one value that jsonb refuses would break every
query that reads its row, so these are null: with a NUL or half a surrogate pair (`\u0000`,
`\ud800`), or with an exponent of five digits. A function that tries the cast would keep the view
from being read in parallel.

The index is a hash on the calls, for a failed call has an id too. The update that ends a call is no
HOT one any more: WAL grows from 2,960 to 3,230 bytes a request (25,000 requests, 32 in a batch), as
much as by a btree there (3,210) or by either on the requests' column (3,190, 3,200), which has only
the answered calls.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import context, op

from migrations.steps import alone, build_index, comment_on, make_anew

if TYPE_CHECKING:
    from collections.abc import Mapping

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TABLE IF NOT EXISTS verification.turned_away (
  day date NOT NULL,
  mode text NOT NULL,
  source text NOT NULL,
  reason text NOT NULL,
  messages bigint NOT NULL,
  CONSTRAINT turned_away_pkey PRIMARY KEY (day, mode, source, reason),
  CONSTRAINT turned_away_mode_check CHECK (mode IN ('live', 'sandbox')))"""
_VIEW = """
CREATE OR REPLACE VIEW verification_v1.turned_away AS
SELECT day, mode, nullif(source, '') AS source, reason, messages FROM verification.turned_away"""
_WORDS = "Messages that were answered or kept as dead letters and left no row of their own, by day."
_COLUMNS = {
    "day": "Calendar day in Asia/Shanghai.",
    "mode": "live or sandbox: of the worker that turned them away.",
    "source": "Publishing system; {}: it cannot be told.",
    "reason": "conflict, mode_mismatch, or why it cannot be read: not_json, no_usable_id, …",
    "messages": "How many.",
}

# A backslash that another one escapes begins no escape.
_REFUSED = r"(?<!\\)(\\\\)*\\u(0000|[dD][89a-fA-F])"
_STRING = r'"([^"\\]|\\.)*"'
_CONTEXT = rf"""
       CASE WHEN context::text !~ '{_REFUSED}'
             AND regexp_replace(context::text, '{_STRING}', '', 'g') !~ '[eE][+-]?[0-9]{{5}}'
            THEN context::jsonb END AS context_jsonb"""
_CONTEXT_WORDS = (
    "context, to ask with @> and ->>: keys in another order, of equal ones the last; null where "
    "jsonb cannot hold it."
)


def _before() -> Mapping[str, str]:
    """Return the queries of the views with a context, as they were."""
    of_0013: Any = context.script.get_revision("0013").module
    views = of_0013._before()
    return {view: of_0013._after(view, views[view]) for view in ("results", "changes")}


def _after() -> Mapping[str, str]:
    """Return the same with `context_jsonb`."""
    at = "\n  FROM verification."
    return {view: query.replace(at, f",{_CONTEXT}{at}", 1) for view, query in _before().items()}


def upgrade() -> None:
    named = "verification_v1.turned_away"
    said = {name: words.format("null") for name, words in _COLUMNS.items()}
    kept = {name: words.format("empty") for name, words in _COLUMNS.items()}
    alone(
        _TABLE,
        comment_on("TABLE verification.turned_away", _WORDS),
        *(comment_on(f"COLUMN verification.turned_away.{name}", kept[name]) for name in kept),
        "GRANT SELECT, INSERT, UPDATE, DELETE ON verification.turned_away TO verification_worker",
        _VIEW,
        comment_on(f"VIEW {named}", _WORDS),
        *(comment_on(f"COLUMN {named}.{name}", said[name]) for name in said),
        f"GRANT SELECT ON {named} TO verification_reader",
    )
    for view, query in _after().items():
        alone(
            f"CREATE OR REPLACE VIEW verification_v1.{view} AS {query}",
            comment_on(f"COLUMN verification_v1.{view}.context_jsonb", _CONTEXT_WORDS),
        )
    build_index(
        "provider_call_provider_request_id_idx",
        "verification.provider_call USING hash (provider_request_id)"
        " WHERE provider_request_id IS NOT NULL",
    )


def downgrade() -> None:
    op.drop_index(
        "provider_call_provider_request_id_idx", table_name="provider_call", schema="verification"
    )
    for view, query in _before().items():
        make_anew(view, query)
    op.execute("DROP VIEW verification_v1.turned_away")
    op.drop_table("turned_away", schema="verification")
