"""Views for people, and the roles that may read and write.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.steps import StepRefused

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The name of each check type, as the provider's document numbers them.
_CHECK_NAME = """CASE check_type
         WHEN 0 THEN 'bank_card_four_factor' WHEN 1 THEN 'bank_card_three_factor'
         WHEN 2 THEN 'id_card_two_factor'    WHEN 3 THEN 'portrait_three_factor'
         WHEN 4 THEN 'mobile_three_factor' END"""

_VIEWS = {
    "results": (
        "One row per request that has an outcome.",
        f"""
        SELECT request_id, source, check_type, {_CHECK_NAME} AS check_name, outcome, charged,
               calls, in_doubt_calls, mode, masked_name, masked_id_card, masked_bankcard,
               masked_mobile, masked_portrait, subject_digest, auth_success, auth_has_exception,
               auth_code, auth_message, auth_detail, provider_request_id, error_kind,
               error_message, error_fields, context, requested_at, completed_at, event_sent_at
          FROM verification.request
         WHERE completed_at IS NOT NULL""",
        {
            "request_id": "The publisher's id of the request.",
            "source": "Publishing system.",
            "check_type": "0 to 4, as the provider numbers them; null where none was named.",
            "check_name": "Name of the check type.",
            "outcome": "match, mismatch, no_record, rejected, failed or expired.",
            "charged": "Whether any of its calls was charged: yes, no or unknown.",
            "calls": "Calls to the provider.",
            "in_doubt_calls": "Calls that may have been charged without an answer.",
            "mode": "live, or sandbox: then the answer says nothing about a person.",
            "masked_name": "Name, first character only.",
            "masked_id_card": "ID number, first and last character only.",
            "masked_bankcard": "Bank card number, last four digits only.",
            "masked_mobile": "Mobile number, first three and last four digits only.",
            "masked_portrait": "Size of the image.",
            "subject_digest": "HMAC-SHA256 of the ID number: `verification-worker digest`.",
            "auth_success": "authInfo.success.",
            "auth_has_exception": "authInfo.hasException.",
            "auth_code": "authInfo.code.",
            "auth_message": "authInfo.message, scrubbed of personal data.",
            "auth_detail": "authInfo.detail, scrubbed of personal data.",
            "provider_request_id": "The provider's id of the call that gave the answer.",
            "error_kind": "Why there is no answer: a code.",
            "error_message": "Why there is no answer: words.",
            "error_fields": "Refused fields and what is wrong with each.",
            "context": "The publisher's own object.",
            "requested_at": "When a worker first saw the request.",
            "completed_at": "When the outcome was saved.",
            "event_sent_at": "When the broker had confirmed the result event; null before.",
        },
    ),
    "open_requests": (
        "One row per request that has no outcome yet.",
        f"""
        SELECT request_id, source, check_type, {_CHECK_NAME} AS check_name, state, attempts,
               calls, in_doubt_calls, charged, mode, lease_owner, lease_until, requested_at,
               expires_at
          FROM verification.request
         WHERE completed_at IS NULL""",
        {
            "request_id": "The publisher's id of the request.",
            "source": "Publishing system.",
            "check_type": "0 to 4, as the provider numbers them.",
            "check_name": "Name of the check type.",
            "state": "working (a worker has it) or waiting (for another attempt).",
            "attempts": "Attempts that count towards the limit of retries.",
            "calls": "Calls to the provider so far.",
            "in_doubt_calls": "Calls that may have been charged without an answer.",
            "charged": "Whether any of its calls was charged: yes, no or unknown.",
            "mode": "live or sandbox.",
            "lease_owner": "Worker process and batch that works on it.",
            "lease_until": "When another worker may take it over.",
            "requested_at": "When a worker first saw the request.",
            "expires_at": "Past it no call is made.",
        },
    ),
    "calls": (
        "One row per call to the provider, with those that are running or in doubt.",
        """
        SELECT request_id, call_number, mode, worker, started_at, finished_at, class, http_status,
               status, provider_request_id, charged, sends, milliseconds
          FROM verification.provider_call""",
        {
            "request_id": "The request that the call was made for.",
            "call_number": "1 for the first call of a request.",
            "mode": "live or sandbox.",
            "worker": "Worker process and batch that made the call.",
            "started_at": "When the intent to call was committed, before anything was sent.",
            "finished_at": "When its end was recorded; null while it runs or nobody knows.",
            "class": "answered, source_failed, protocol_error, refused, credentials, quota, "
            "throttled, unavailable, not_sent or in_doubt.",
            "http_status": "HTTP status of the answer.",
            "status": "The provider's own status word.",
            "provider_request_id": "The provider's id of the call.",
            "charged": "yes, no or unknown.",
            "sends": "How often it was sent; all but the last one provably free.",
            "milliseconds": "How long it took.",
        },
    ),
    "daily_calls": (
        "Calls per day (Asia/Shanghai), class and charge: to compare with the invoice.",
        """
        SELECT (started_at AT TIME ZONE 'Asia/Shanghai')::date AS day, mode, class, charged,
               count(*) AS calls
          FROM verification.provider_call
         GROUP BY 1, 2, 3, 4""",
        {
            "day": "Calendar day in Asia/Shanghai.",
            "mode": "live or sandbox.",
            "class": "What became of the calls; null for those that are running.",
            "charged": "yes, no or unknown.",
            "calls": "How many.",
        },
    ),
}

_ROLES = ("verification_reader", "verification_worker")

# Another database's migration may make the same role at the same moment.
_CREATE_ROLE = """
DO $$ BEGIN
  CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$"""

_MAY_CREATE_ROLES = """
SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"""

_GRANTS = """
GRANT USAGE ON SCHEMA verification_v1 TO verification_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA verification_v1 TO verification_reader;
GRANT USAGE ON SCHEMA verification TO verification_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON verification.request, verification.provider_call
   TO verification_worker;
GRANT SELECT ON verification.alembic_version TO verification_worker;
COMMENT ON SCHEMA verification IS 'Tables of the worker: people read verification_v1.';
COMMENT ON SCHEMA verification_v1 IS 'What people read: stable, versioned.';
COMMENT ON TABLE verification.alembic_version IS 'Which migration the schema is at.';
COMMENT ON COLUMN verification.alembic_version.version_num IS 'Revision of migrations/versions.'
"""


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def upgrade() -> None:
    """Create the schema that people read, and the two roles."""
    op.execute("CREATE SCHEMA verification_v1")
    for name, (comment, query, columns) in _VIEWS.items():
        view = f"verification_v1.{name}"
        op.execute(f"CREATE VIEW {view} WITH (security_barrier) AS {query}")
        op.execute(f"COMMENT ON VIEW {view} IS {_quoted(comment)}")
        for column, words in columns.items():
            op.execute(f"COMMENT ON COLUMN {view}.{column} IS {_quoted(words)}")
    _make_roles()
    for statement in _GRANTS.split(";"):
        op.execute(statement)


def _make_roles() -> None:
    """Make the roles that are not there.

    They belong to the cluster, so another database's migration or an administrator may have made
    them. Looked at first: CREATE ROLE asks for the right to do so before it looks for a duplicate.
    """
    database = op.get_bind()
    there = set(database.scalars(sa.text("SELECT rolname FROM pg_roles")))
    missing = [f"CREATE ROLE {role} NOLOGIN;" for role in _ROLES if role not in there]
    if missing and not database.scalar(sa.text(_MAY_CREATE_ROLES)):
        raise StepRefused(
            "the login of DATABASE_URL may not create roles: let an administrator run "
            f"`{' '.join(missing)}` first, then run this again"
        )
    for role in _ROLES:
        if role not in there:
            op.execute(_CREATE_ROLE.format(role=role))


def downgrade() -> None:
    """Drop the views; the roles stay, for other databases may use them."""
    op.execute("DROP SCHEMA verification_v1 CASCADE")
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA verification FROM verification_worker")
    op.execute("REVOKE ALL ON SCHEMA verification FROM verification_worker")
