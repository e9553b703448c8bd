"""requests and calls.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No foreign key to `request`: whatever deletes a row deletes its calls in the same statement,
    # and a key would be looked up once more for each call.
    op.create_table(
        "provider_call",
        sa.Column(
            "request_id",
            sa.Text(),
            nullable=False,
            comment="The request that the call was made for.",
        ),
        sa.Column(
            "call_number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="1 for the first call of a request.",
        ),
        sa.Column("mode", sa.Text(), nullable=False, comment="live or sandbox."),
        sa.Column(
            "worker",
            sa.Text(),
            nullable=False,
            comment="Worker process and batch that made the call.",
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the intent to call was committed, before anything was sent.",
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the call's end was recorded; null while it runs.",
        ),
        sa.Column(
            "class",
            sa.Text(),
            nullable=True,
            comment="What became of it: answered, in_doubt, not_sent, throttled, …",
        ),
        sa.Column(
            "http_status", sa.SmallInteger(), nullable=True, comment="HTTP status of the answer."
        ),
        sa.Column("status", sa.Text(), nullable=True, comment="The provider's own status word."),
        sa.Column(
            "provider_request_id",
            sa.Text(),
            nullable=True,
            comment="The provider's id of the call.",
        ),
        sa.Column(
            "charged",
            sa.Text(),
            server_default=sa.text("'unknown'"),
            nullable=False,
            comment="yes, no or unknown.",
        ),
        sa.Column(
            "sends",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How often it was sent; all but the last one provably free.",
        ),
        sa.Column("milliseconds", sa.BigInteger(), nullable=True, comment="How long it took."),
        sa.CheckConstraint(
            "charged IN ('yes', 'no', 'unknown')", name=op.f("provider_call_charged_check")
        ),
        sa.PrimaryKeyConstraint("request_id", "call_number", name=op.f("provider_call_pkey")),
        schema="verification",
        comment="One row per call to the provider; the intent is committed before the call leaves.",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "provider_call_started_at_idx",
        "provider_call",
        ["started_at"],
        unique=False,
        schema="verification",
    )
    op.create_table(
        "request",
        sa.Column(
            "request_id", sa.Text(), nullable=False, comment="Idempotency key of the publisher."
        ),
        sa.Column(
            "fingerprint",
            sa.LargeBinary(),
            nullable=False,
            comment="Keyed digest of what is asked; the same id with another one is a conflict.",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Publishing system."),
        sa.Column(
            "check_type",
            sa.SmallInteger(),
            nullable=True,
            comment="0 to 4; null where the message names none.",
        ),
        sa.Column(
            "mode",
            sa.Text(),
            nullable=False,
            comment="live or sandbox: where the answer comes from.",
        ),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="working (leased), waiting (for another attempt) or done (has its outcome).",
        ),
        sa.Column(
            "lease_owner",
            sa.Text(),
            nullable=True,
            comment="Worker process and batch that works on the request.",
        ),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when the owner may work on it; null where nobody does.",
        ),
        sa.Column(
            "grants",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How often the request was claimed; fences stale owners out.",
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Attempts that count towards the limit of retries.",
        ),
        sa.Column(
            "calls",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls to the provider.",
        ),
        sa.Column(
            "in_doubt_calls",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls that may have been charged without an answer.",
        ),
        sa.Column(
            "charged",
            sa.Text(),
            server_default=sa.text("'no'"),
            nullable=False,
            comment="Worst of the calls: yes, unknown or no.",
        ),
        sa.Column(
            "subject_digest",
            sa.LargeBinary(),
            nullable=True,
            comment="HMAC-SHA256 of the ID number: digest command.",
        ),
        sa.Column("masked_name", sa.Text(), nullable=True, comment="Name, first character only."),
        sa.Column(
            "masked_id_card",
            sa.Text(),
            nullable=True,
            comment="ID number, first and last character only.",
        ),
        sa.Column(
            "masked_bankcard",
            sa.Text(),
            nullable=True,
            comment="Bank card number, last four digits only.",
        ),
        sa.Column(
            "masked_mobile",
            sa.Text(),
            nullable=True,
            comment="Mobile number, first three and last four digits only.",
        ),
        sa.Column("masked_portrait", sa.Text(), nullable=True, comment="Size of the image."),
        sa.Column(
            "context",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=True,
            comment="The publisher's own object, echoed in the event.",
        ),
        sa.Column(
            "reply_to",
            sa.Text(),
            nullable=True,
            comment="Routing key of the event, where the sender set one.",
        ),
        sa.Column(
            "correlation_id", sa.Text(), nullable=True, comment="The sender's correlation id."
        ),
        sa.Column(
            "traceparent", sa.Text(), nullable=True, comment="W3C trace context of the request."
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Past it no call is made.",
        ),
        sa.Column(
            "outcome",
            sa.Text(),
            nullable=True,
            comment="match, mismatch, no_record, rejected, failed or expired.",
        ),
        sa.Column(
            "auth_success",
            sa.Boolean(),
            nullable=True,
            comment="authInfo.success as the provider said it.",
        ),
        sa.Column(
            "auth_has_exception",
            sa.Boolean(),
            nullable=True,
            comment="authInfo.hasException, likewise.",
        ),
        sa.Column("auth_code", sa.Text(), nullable=True, comment="authInfo.code."),
        sa.Column(
            "auth_message",
            sa.Text(),
            nullable=True,
            comment="authInfo.message, scrubbed of personal data.",
        ),
        sa.Column(
            "auth_detail",
            sa.Text(),
            nullable=True,
            comment="authInfo.detail, scrubbed of personal data.",
        ),
        sa.Column(
            "provider_request_id",
            sa.Text(),
            nullable=True,
            comment="The provider's id of the call that gave the answer.",
        ),
        sa.Column(
            "error_kind", sa.Text(), nullable=True, comment="Why there is no answer: a code."
        ),
        sa.Column(
            "error_message", sa.Text(), nullable=True, comment="Why there is no answer: words."
        ),
        sa.Column(
            "error_fields",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=True,
            comment="Refused fields and what is wrong with each.",
        ),
        sa.Column(
            "requested_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When a worker first saw the request.",
        ),
        sa.Column(
            "completed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the outcome was saved.",
        ),
        sa.Column(
            "event_sent_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the broker had confirmed the result event.",
        ),
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
        # Each row is updated two or three times soon after it is inserted.
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "request_open_idx",
        "request",
        ["requested_at"],
        unique=False,
        schema="verification",
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_index(
        "request_requested_at_idx", "request", ["requested_at"], unique=False, schema="verification"
    )
    op.create_index(
        "request_source_requested_at_idx",
        "request",
        ["source", "requested_at"],
        unique=False,
        schema="verification",
    )
    op.create_index(
        "request_subject_digest_idx",
        "request",
        ["subject_digest", "requested_at"],
        unique=False,
        schema="verification",
    )
    op.create_index(
        "request_unsent_idx",
        "request",
        ["completed_at"],
        unique=False,
        schema="verification",
        postgresql_where=sa.text("completed_at IS NOT NULL AND event_sent_at IS NULL"),
    )
    # ### end Alembic commands ###


def downgrade() -> None:
    # ### commands auto generated by Alembic - please adjust! ###
    op.drop_index(
        "request_unsent_idx",
        table_name="request",
        schema="verification",
        postgresql_where=sa.text("completed_at IS NOT NULL AND event_sent_at IS NULL"),
    )
    op.drop_index("request_subject_digest_idx", table_name="request", schema="verification")
    op.drop_index("request_source_requested_at_idx", table_name="request", schema="verification")
    op.drop_index("request_requested_at_idx", table_name="request", schema="verification")
    op.drop_index(
        "request_open_idx",
        table_name="request",
        schema="verification",
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.drop_table("request", schema="verification")
    op.drop_index("provider_call_started_at_idx", table_name="provider_call", schema="verification")
    op.drop_table("provider_call", schema="verification")
    # ### end Alembic commands ###
