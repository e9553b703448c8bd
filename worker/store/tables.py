"""The tables of requests and calls, with the comments that people read in `psql`.

`migrations/` creates them and those of `small_tables`; `alembic check` proves that both say the
same.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON

from worker.store.rows import KEPT, OPEN, UNSENT
from worker.store.small_tables import SCHEMA, count, flag, metadata, text, time

# Migration 0011 says why.
_SOON_VACUUMED = {
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}

__all__ = ["SCHEMA", "metadata", "provider_call", "request"]

request = sa.Table(
    "request",
    metadata,
    text("request_id", "Idempotency key of the publisher.", primary_key=True),
    sa.Column(
        "fingerprint",
        sa.LargeBinary,
        nullable=False,
        comment="Keyed digest of what is asked; the same id with another one is a conflict. "
        "Empty where the person was erased.",
    ),
    text("digest_key", "Id of the DIGEST_KEY of both digests; null: from before keys had ids."),
    text("source", "Publishing system.", nullable=False),
    sa.Column("check_type", sa.SmallInteger, comment="0 to 4; null where the message names none."),
    text("mode", "live or sandbox: where the answer comes from.", nullable=False),
    text(
        "state",
        "working (leased), waiting (for another attempt) or done (has its outcome).",
        nullable=False,
    ),
    text("lease_owner", "Worker process and batch that works on the request."),
    time("lease_until", "Until when the owner may work on it; null where nobody does."),
    time("due_at", "When the next attempt of a waiting request is due; null: at once."),
    count("grants", "How often the request was claimed; fences stale owners out."),
    count("attempts", "Attempts that count towards the limit of retries."),
    count("calls", "Calls to the provider."),
    count("in_doubt_calls", "Calls that may have been charged without an answer."),
    text(
        "charged",
        "Worst of the calls: yes, unknown or no.",
        nullable=False,
        server_default=sa.text("'no'"),
    ),
    sa.Column(
        "subject_digest", sa.LargeBinary, comment="HMAC-SHA256 of the ID number: digest command."
    ),
    text("masked_name", "Name, first character only."),
    text("masked_id_card", "ID number, first and last character only."),
    text("masked_bankcard", "Bank card number, last four digits only."),
    text("masked_mobile", "Mobile number, first three and last four digits only."),
    text("masked_portrait", "Size of the image."),
    sa.Column("context", JSON, comment="The publisher's own object, echoed in the event."),
    text("reply_to", "Routing key of the event, where the sender set one."),
    text("correlation_id", "The sender's correlation id."),
    text("traceparent", "W3C trace context of the request."),
    time("expires_at", "Past it no call is made."),
    text("outcome", "match, mismatch, no_record, rejected, failed or expired."),
    flag("auth_success", "authInfo.success as the provider said it."),
    flag("auth_has_exception", "authInfo.hasException, likewise."),
    text("auth_code", "authInfo.code."),
    text("auth_message", "authInfo.message, scrubbed of personal data."),
    text("auth_detail", "authInfo.detail, scrubbed of personal data."),
    text("provider_request_id", "The provider's id of the call that gave the answer."),
    text("error_kind", "Why there is no answer: a code."),
    text("error_message", "Why there is no answer: words."),
    sa.Column("error_fields", JSON, comment="Refused fields and what is wrong with each."),
    text("reused_from", "The request whose paid answer was given again here, without a call."),
    time(
        "requested_at",
        "When a worker first saw the request.",
        nullable=False,
        server_default=sa.func.now(),
    ),
    time("completed_at", "When the outcome was saved."),
    time("event_sent_at", "When the broker had confirmed the result event."),
    time("settled_at", "When the broker had confirmed all that the message caused."),
    time(
        "event_retry_at",
        "Until when an unsent event is left to the relay that took it; it may have crashed.",
    ),
    time("cleared_at", "When masked data, digest and context were cleared; the rest stays."),
    sa.Column(
        "changed_in",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="Epoch and transaction that saved the outcome, or cleared it later: see the view "
        "changes.",
    ),
    time(
        "published_at",
        "When it was published: AMQP's timestamp; null where the publisher set none.",
    ),
    text("lane", "bulk where the request came by the bulk lane; null: by the live one."),
    sa.CheckConstraint("state IN ('working', 'waiting', 'done')", name="state"),
    sa.CheckConstraint("mode IN ('live', 'sandbox')", name="mode"),
    sa.CheckConstraint("charged IN ('yes', 'no', 'unknown')", name="charged"),
    sa.CheckConstraint("check_type BETWEEN 0 AND 4", name="check_type"),
    sa.CheckConstraint(
        "outcome IN ('match', 'mismatch', 'no_record', 'rejected', 'failed', 'expired')",
        name="outcome",
    ),
    sa.CheckConstraint(
        "(state = 'done') = (outcome IS NOT NULL AND completed_at IS NOT NULL)", name="done"
    ),
    sa.CheckConstraint("(state = 'working') = (lease_until IS NOT NULL)", name="leased"),
    comment="One row per requestId: who works on it, and how it ended. No personal data.",
    # Each row is updated two or three times soon after it is inserted.
    postgresql_with={"fillfactor": "70", **_SOON_VACUUMED},
)

sa.Index("request_subject_digest_idx", request.c.subject_digest, request.c.requested_at)
sa.Index("request_source_requested_at_idx", request.c.source, request.c.requested_at)
sa.Index("request_requested_at_idx", request.c.requested_at)
sa.Index("request_unsent_idx", request.c.completed_at, postgresql_where=sa.text(UNSENT))
# What retention clears, and what it deletes: each finished row stands in one of the two.
_mode_and_age = (request.c.mode, request.c.completed_at)
sa.Index("request_kept_idx", *_mode_and_age, postgresql_where=sa.text(KEPT))
sa.Index("request_cleared_idx", *_mode_and_age, postgresql_where=sa.text("cleared_at IS NOT NULL"))
# Few entries: all rows of one transaction share theirs. Triggers of 0006 and 0010 write the column.
_finished = sa.text("completed_at IS NOT NULL")
sa.Index("request_changed_in_idx", request.c.changed_in, postgresql_where=_finished)
# Few pages, for rows stand in the order of their ends but for a while.
sa.Index("request_completed_at_idx", request.c.completed_at, postgresql_using="brin")
sa.Index("request_open_idx", request.c.requested_at, postgresql_where=sa.text(OPEN))

# No foreign key to `request`: whatever deletes a row deletes its calls in the same statement, and a
# key would be looked up once more for each call.
provider_call = sa.Table(
    "provider_call",
    metadata,
    text("request_id", "The request that the call was made for.", primary_key=True),
    sa.Column(
        "call_number",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="1 for the first call of a request.",
    ),
    text("mode", "live or sandbox.", nullable=False),
    text("worker", "Worker process and batch that made the call.", nullable=False),
    time(
        "started_at",
        "When the intent to call was committed, before anything was sent.",
        nullable=False,
        server_default=sa.func.now(),
    ),
    time("finished_at", "When the call's end was recorded; null while it runs."),
    text("class", "What became of it: answered, in_doubt, not_sent, throttled, …"),
    sa.Column("http_status", sa.SmallInteger, comment="HTTP status of the answer."),
    text("status", "The provider's own status word."),
    text("provider_request_id", "The provider's id of the call."),
    text("charged", "yes, no or unknown.", nullable=False, server_default=sa.text("'unknown'")),
    count("sends", "How often it was sent; all but the last one provably free."),
    sa.Column("milliseconds", sa.BigInteger, comment="How long it took."),
    text("not_sent_because", "Why no byte of it left: dns, refused, tls_untrusted, proxy, …"),
    text("source", "Publishing system of its request; null: from before this was kept."),
    sa.Column("check_type", sa.SmallInteger, comment="Check type of its request; null likewise."),
    time(
        "published_at",
        "When it was published: AMQP's timestamp; null where the publisher set none.",
    ),
    sa.CheckConstraint("charged IN ('yes', 'no', 'unknown')", name="charged"),
    comment="One row per call to the provider; the intent is committed before the call leaves.",
    postgresql_with={"fillfactor": "80", **_SOON_VACUUMED},
)

sa.Index("provider_call_started_at_idx", provider_call.c.started_at)
sa.Index(
    "provider_call_provider_request_id_idx",
    provider_call.c.provider_request_id,
    postgresql_using="hash",
    postgresql_where=sa.text("provider_request_id IS NOT NULL"),
)
