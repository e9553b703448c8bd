"""requests and calls.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from datetime import datetime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str, comment: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), comment=comment, **options)


def _time(name: str, comment: str, **options: Any) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), comment=comment, **options)


def _count(name: str, comment: str) -> sa.Column[int]:
    zero = sa.text("0")
    return sa.Column(name, sa.Integer(), nullable=False, server_default=zero, comment=comment)


def upgrade() -> None:
    op.create_table(
        "provider_call",
        _text("request_id", "The request that the call was made for.", nullable=False),
        sa.Column(
            "call_number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="1 for the first call of a request.",
        ),
        _text("mode", "live or sandbox.", nullable=False),
        _text("worker", "Worker process and batch that made the call.", nullable=False),
        _time(
            "started_at",
            "When the intent to call was committed, before anything was sent.",
            server_default=sa.text("now()"),
            nullable=False,
        ),
        _time("finished_at", "When the call's end was recorded; null while it runs."),
        _text("class", "What became of it: answered, in_doubt, not_sent, throttled, …"),
        sa.Column("http_status", sa.SmallInteger(), comment="HTTP status of the answer."),
        _text("status", "The provider's own status word."),
        _text("provider_request_id", "The provider's id of the call."),
        _text(
            "charged", "yes, no or unknown.", server_default=sa.text("'unknown'"), nullable=False
        ),
        _count("sends", "How often it was sent; all but the last one provably free."),
        sa.Column("milliseconds", sa.BigInteger(), comment="How long it took."),
        sa.CheckConstraint(
            "charged IN ('yes', 'no', 'unknown')", name=op.f("provider_call_charged_check")
        ),
        sa.PrimaryKeyConstraint("request_id", "call_number", name=op.f("provider_call_pkey")),
        schema="verification",
        comment="One row per call to the provider; the intent is committed before the call leaves.",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "provider_call_started_at_idx", "provider_call", ["started_at"], schema="verification"
    )
    op.create_table(
        "request",
        _text("request_id", "Idempotency key of the publisher.", nullable=False),
        sa.Column(
            "fingerprint",
            sa.LargeBinary(),
            nullable=False,
            comment="Keyed digest of what is asked; the same id with another one is a conflict.",
        ),
        _text("source", "Publishing system.", nullable=False),
        sa.Column(
            "check_type", sa.SmallInteger(), comment="0 to 4; null where the message names none."
        ),
        _text("mode", "live or sandbox: where the answer comes from.", nullable=False),
        _text(
            "state",
            "working (leased), waiting (for another attempt) or done (has its outcome).",
            nullable=False,
        ),
        _text("lease_owner", "Worker process and batch that works on the request."),
        _time("lease_until", "Until when the owner may work on it; null where nobody does."),
        _count("grants", "How often the request was claimed; fences stale owners out."),
        _count("attempts", "Attempts that count towards the limit of retries."),
        _count("calls", "Calls to the provider."),
        _count("in_doubt_calls", "Calls that may have been charged without an answer."),
        _text(
            "charged",
            "Worst of the calls: yes, unknown or no.",
            server_default=sa.text("'no'"),
            nullable=False,
        ),
        sa.Column(
            "subject_digest",
            sa.LargeBinary(),
            comment="HMAC-SHA256 of the ID number: digest command.",
        ),
        _text("masked_name", "Name, first character only."),
        _text("masked_id_card", "ID number, first and last character only."),
        _text("masked_bankcard", "Bank card number, last four digits only."),
        _text("masked_mobile", "Mobile number, first three and last four digits only."),
        _text("masked_portrait", "Size of the image."),
        sa.Column(
            "context",
            postgresql.JSON(astext_type=sa.Text()),
            comment="The publisher's own object, echoed in the event.",
        ),
        _text("reply_to", "Routing key of the event, where the sender set one."),
        _text("correlation_id", "The sender's correlation id."),
        _text("traceparent", "W3C trace context of the request."),
        _time("expires_at", "Past it no call is made."),
        _text("outcome", "match, mismatch, no_record, rejected, failed or expired."),
        sa.Column(
            "auth_success", sa.Boolean(), comment="authInfo.success as the provider said it."
        ),
        sa.Column("auth_has_exception", sa.Boolean(), comment="authInfo.hasException, likewise."),
        _text("auth_code", "authInfo.code."),
        _text("auth_message", "authInfo.message, scrubbed of personal data."),
        _text("auth_detail", "authInfo.detail, scrubbed of personal data."),
        _text("provider_request_id", "The provider's id of the call that gave the answer."),
        _text("error_kind", "Why there is no answer: a code."),
        _text("error_message", "Why there is no answer: words."),
        sa.Column(
            "error_fields",
            postgresql.JSON(astext_type=sa.Text()),
            comment="Refused fields and what is wrong with each.",
        ),
        _time(
            "requested_at",
            "When a worker first saw the request.",
            server_default=sa.text("now()"),
            nullable=False,
        ),
        _time("completed_at", "When the outcome was saved."),
        _time("event_sent_at", "When the broker had confirmed the result event."),
        sa.CheckConstraint(
            "(state = 'done') = (outcome IS NOT NULL AND completed_at IS NOT NULL)",
            name=op.f("request_done_check"),
        ),
        sa.CheckConstraint(
            "(state = 'working') = (lease_until IS NOT NULL)", name=op.f("request_leased_check")
        ),
        sa.CheckConstraint(
            "charged IN ('yes', 'no', 'unknown')", name=op.f("request_charged_check")
        ),
        sa.CheckConstraint("mode IN ('live', 'sandbox')", name=op.f("request_mode_check")),
        sa.CheckConstraint(
            "outcome IN ('match', 'mismatch', 'no_record', 'rejected', 'failed', 'expired')",
            name=op.f("request_outcome_check"),
        ),
        sa.CheckConstraint(
            "state IN ('working', 'waiting', 'done')", name=op.f("request_state_check")
        ),
        sa.CheckConstraint("check_type BETWEEN 0 AND 4", name=op.f("request_check_type_check")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("request_pkey")),
        schema="verification",
        comment="One row per requestId: who works on it, and how it ended. No personal data.",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "request_open_idx",
        "request",
        ["requested_at"],
        schema="verification",
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_index("request_requested_at_idx", "request", ["requested_at"], schema="verification")
    op.create_index(
        "request_source_requested_at_idx",
        "request",
        ["source", "requested_at"],
        schema="verification",
    )
    op.create_index(
        "request_subject_digest_idx",
        "request",
        ["subject_digest", "requested_at"],
        schema="verification",
    )
    op.create_index(
        "request_unsent_idx",
        "request",
        ["completed_at"],
        schema="verification",
        postgresql_where=sa.text("completed_at IS NOT NULL AND event_sent_at IS NULL"),
    )


def downgrade() -> None:
    # A table takes its indexes along.
    op.drop_table("request", schema="verification")
    op.drop_table("provider_call", schema="verification")
