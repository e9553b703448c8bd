"""Reading what is new: each change of a result is numbered, and the view `changes` shows them.

A number taken before a commit does not say which commit comes first: a reader who goes by it, or by
a time, skips the row that commits late. So a row is stamped with its transaction's id, and the view
ends below the oldest transaction that still runs: none with a smaller number can commit any more.

A trigger stamps, not the statements: workers of the last release finish requests too while this
migration is rolled out, and so do leases, retention and people; what one of them forgot would
never be read. Of some 185 µs that a backend spends on a request, column and index cost 3 µs and the
trigger 4.

No view has `security_barrier` any more. It keeps a condition of the reader's from seeing rows that
the view leaves out. No row is a secret here: a reader may read each of them in `results` or
`open_requests`. What is kept from readers is columns, and no condition reaches a column that the
view does not have. Its price was that a condition with a function that may fail, as in
`requested_at >= current_date`, used no index.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import context, op

from migrations.steps import add_column, alone, build_index, comment_on

if TYPE_CHECKING:
    from collections.abc import Mapping

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CHECK_NAME = """CASE check_type
         WHEN 0 THEN 'bank_card_four_factor' WHEN 1 THEN 'bank_card_three_factor'
         WHEN 2 THEN 'id_card_two_factor'    WHEN 3 THEN 'portrait_three_factor'
         WHEN 4 THEN 'mobile_three_factor' END AS check_name"""

_RESULTS = f"""
SELECT request_id, source, check_type, {_CHECK_NAME}, outcome, charged, calls, in_doubt_calls,
       mode, masked_name, masked_id_card, masked_bankcard, masked_mobile, masked_portrait,
       subject_digest, auth_success, auth_has_exception, auth_code, auth_message, auth_detail,
       provider_request_id, error_kind, error_message, error_fields, context, requested_at,
       completed_at, event_sent_at, cleared_at
  FROM verification.request
 WHERE completed_at IS NOT NULL"""

_CLEARED_AT = "When masked data, digest, context and words were cleared; null: they still stand."

# Without event_sent_at: that an event was sent is no change, and would be seen by chance.
_CHANGES = f"""
SELECT changed_in AS change, request_id, source, check_type, {_CHECK_NAME}, outcome, charged, calls,
       in_doubt_calls, mode, masked_name, masked_id_card, masked_bankcard, masked_mobile,
       masked_portrait, subject_digest, auth_success, auth_has_exception, auth_code, auth_message,
       auth_detail, provider_request_id, error_kind, error_message, error_fields, context,
       requested_at, completed_at, cleared_at
  FROM verification.request
 WHERE completed_at IS NOT NULL
   AND changed_in < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"""

_CHANGES_COMMENT = (
    "Results in the order of their last change, for incremental reading: keep the highest change, "
    "read what is above it. It ends before the oldest transaction that still runs, so nothing can "
    "appear below a change that was read."
)

_CHANGE = (
    "The transaction that saved the outcome or cleared the row; 0 for what was finished before the "
    "database knew changes. All rows of one transaction have the same: FETCH FIRST … WITH TIES."
)

# By day, so that a condition on `day` reads these days' calls through the index on started_at.
_DAILY_CALLS = """
SELECT span.first + number AS day, mode, class, charged, calls
  FROM (SELECT (min(started_at) AT TIME ZONE 'Asia/Shanghai')::date AS first,
               (max(started_at) AT TIME ZONE 'Asia/Shanghai')::date AS last
          FROM verification.provider_call) AS span,
       generate_series(0, span.last - span.first) AS number,
       LATERAL (
         SELECT mode, class, charged, count(*) AS calls
           FROM verification.provider_call
          WHERE started_at >= (span.first + number)::timestamp AT TIME ZONE 'Asia/Shanghai'
            AND started_at < (span.first + number + 1)::timestamp AT TIME ZONE 'Asia/Shanghai'
          GROUP BY 1, 2, 3) AS of_day"""

_STAMP = """
CREATE OR REPLACE FUNCTION verification.stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_in := pg_catalog.pg_current_xact_id()::text::bigint;
  RETURN NEW;
END $$"""

# The update that marks the event as sent names neither column: no trigger is fired for it.
_EVENTS = {"inserted": "INSERT", "updated": "UPDATE OF completed_at, cleared_at"}
_TRIGGER = """
CREATE OR REPLACE TRIGGER stamp_change_{name} BEFORE {event} ON verification.request
   FOR EACH ROW WHEN (NEW.completed_at IS NOT NULL)
   EXECUTE FUNCTION verification.stamp_change()"""


def _first_views() -> Mapping[str, Any]:
    """Return what 0002 says of each view: comment, query, comments of columns."""
    views: Mapping[str, Any] = context.script.get_revision("0002").module._VIEWS
    return views


def upgrade() -> None:
    add_column(
        "request",
        "changed_in",
        "bigint NOT NULL DEFAULT 0",
        "Transaction that saved the outcome, or cleared it later: see the view changes.",
    )
    build_index(
        "request_changed_in_idx", "verification.request (changed_in) WHERE completed_at IS NOT NULL"
    )
    stamp = "FUNCTION verification.stamp_change()"
    alone(
        _STAMP,
        f"REVOKE ALL ON {stamp} FROM PUBLIC",
        comment_on(stamp, "Numbers a change of a finished request."),
        *(_TRIGGER.format(name=name, event=event) for name, event in _EVENTS.items()),
    )
    # The views after the triggers: every row that the view has not shown yet is stamped.
    _replace_views()
    alone("GRANT SELECT ON verification_v1.changes TO verification_reader")


def _replace_views() -> None:
    # Replaced in place: grants and what people have built on them stay.
    changes = "verification_v1.changes"
    _, _, words = _first_views()["results"]
    columns = {"change": _CHANGE, **words, "cleared_at": _CLEARED_AT}
    columns.pop("event_sent_at")
    alone(
        f"CREATE OR REPLACE VIEW verification_v1.results AS {_RESULTS}",
        f"CREATE OR REPLACE VIEW verification_v1.daily_calls AS {_DAILY_CALLS}",
        "ALTER VIEW verification_v1.open_requests RESET (security_barrier)",
        "ALTER VIEW verification_v1.calls RESET (security_barrier)",
        f"CREATE OR REPLACE VIEW {changes} AS {_CHANGES}",
        comment_on(f"VIEW {changes}", _CHANGES_COMMENT),
        *(comment_on(f"COLUMN {changes}.{column}", said) for column, said in columns.items()),
        comment_on("COLUMN verification_v1.results.cleared_at", _CLEARED_AT),
    )


def downgrade() -> None:
    """Go back to the views of 0002; what people have built on `results` is in the way."""
    op.execute("DROP VIEW verification_v1.changes")
    # A column cannot be taken from a view: it is made anew.
    op.execute("DROP VIEW verification_v1.results")
    comment, query, columns = _first_views()["results"]
    op.execute(f"CREATE VIEW verification_v1.results WITH (security_barrier) AS {query}")
    op.execute(comment_on("VIEW verification_v1.results", comment))
    for column, words in columns.items():
        op.execute(comment_on(f"COLUMN verification_v1.results.{column}", words))
    op.execute("GRANT SELECT ON verification_v1.results TO verification_reader")
    _, query, _ = _first_views()["daily_calls"]
    op.execute(
        f"CREATE OR REPLACE VIEW verification_v1.daily_calls WITH (security_barrier) AS {query}"
    )
    for view in ("open_requests", "calls"):
        op.execute(f"ALTER VIEW verification_v1.{view} SET (security_barrier)")
    for name in _EVENTS:
        op.execute(f"DROP TRIGGER stamp_change_{name} ON verification.request")
    op.execute("DROP FUNCTION verification.stamp_change()")
    op.drop_index("request_changed_in_idx", table_name="request", schema="verification")
    op.drop_column("request", "changed_in", schema="verification")
