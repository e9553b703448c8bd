"""The tables of schema `verification`, with the comments that people read in `psql`.

`migrations/` creates them; `alembic check` proves that both say the same.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

SCHEMA = "verification"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    },
)


def _time(name: str, comment: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, comment=comment)


def _text(name: str, comment: str, *, nullable: bool = True) -> Column[str]:
    return Column(name, Text, nullable=nullable, comment=comment)


def _count(name: str, comment: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"), comment=comment)


request = Table(
    "request",
    metadata,
    Column("request_id", Text, primary_key=True, comment="Idempotency key of the publisher."),
    Column(
        "fingerprint",
        LargeBinary,
        nullable=False,
        comment="Keyed digest of what is asked; the same id with another one is a conflict. "
        "Empty where the person was erased.",
    ),
    _text("digest_key", "Id of the DIGEST_KEY of both digests; null: from before keys had ids."),
    _text("source", "Publishing system.", nullable=False),
    Column("check_type", SmallInteger, comment="0 to 4; null where the message names none."),
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
    Column(
        "charged",
        Text,
        nullable=False,
        server_default=text("'no'"),
        comment="Worst of the calls: yes, unknown or no.",
    ),
    Column("subject_digest", LargeBinary, comment="HMAC-SHA256 of the ID number: digest command."),
    _text("masked_name", "Name, first character only."),
    _text("masked_id_card", "ID number, first and last character only."),
    _text("masked_bankcard", "Bank card number, last four digits only."),
    _text("masked_mobile", "Mobile number, first three and last four digits only."),
    _text("masked_portrait", "Size of the image."),
    Column("context", JSON, comment="The publisher's own object, echoed in the event."),
    _text("reply_to", "Routing key of the event, where the sender set one."),
    _text("correlation_id", "The sender's correlation id."),
    _text("traceparent", "W3C trace context of the request."),
    _time("expires_at", "Past it no call is made."),
    _text("outcome", "match, mismatch, no_record, rejected, failed or expired."),
    Column("auth_success", Boolean, comment="authInfo.success as the provider said it."),
    Column("auth_has_exception", Boolean, comment="authInfo.hasException, likewise."),
    _text("auth_code", "authInfo.code."),
    _text("auth_message", "authInfo.message, scrubbed of personal data."),
    _text("auth_detail", "authInfo.detail, scrubbed of personal data."),
    _text("provider_request_id", "The provider's id of the call that gave the answer."),
    _text("error_kind", "Why there is no answer: a code."),
    _text("error_message", "Why there is no answer: words."),
    Column("error_fields", JSON, comment="Refused fields and what is wrong with each."),
    _text("reused_from", "The request whose paid answer was given again here, without a call."),
    Column(
        "requested_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
        comment="When a worker first saw the request.",
    ),
    _time("completed_at", "When the outcome was saved."),
    _time("event_sent_at", "When the broker had confirmed the result event."),
    _time("settled_at", "When the broker had confirmed all that the message caused."),
    _time(
        "event_retry_at",
        "Until when an unsent event is left to the relay that took it; it may have crashed.",
    ),
    _time("cleared_at", "When masked data, digest and context were cleared; the rest stays."),
    Column(
        "changed_in",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Transaction that saved the outcome, or cleared it later: see the view changes.",
    ),
    CheckConstraint("state IN ('working', 'waiting', 'done')", name="state"),
    CheckConstraint("mode IN ('live', 'sandbox')", name="mode"),
    CheckConstraint("charged IN ('yes', 'no', 'unknown')", name="charged"),
    CheckConstraint("check_type BETWEEN 0 AND 4", name="check_type"),
    CheckConstraint(
        "outcome IN ('match', 'mismatch', 'no_record', 'rejected', 'failed', 'expired')",
        name="outcome",
    ),
    CheckConstraint(
        "(state = 'done') = (outcome IS NOT NULL AND completed_at IS NOT NULL)", name="done"
    ),
    CheckConstraint("(state = 'working') = (lease_until IS NOT NULL)", name="leased"),
    comment="One row per requestId: who works on it, and how it ended. No personal data.",
    # Each row is updated two or three times soon after it is inserted.
    postgresql_with={"fillfactor": "70"},
)

Index("request_subject_digest_idx", request.c.subject_digest, request.c.requested_at)
Index("request_source_requested_at_idx", request.c.source, request.c.requested_at)
Index("request_requested_at_idx", request.c.requested_at)
Index(
    "request_unsent_idx",
    request.c.completed_at,
    postgresql_where=text("completed_at IS NOT NULL AND event_sent_at IS NULL"),
)
# What retention clears, and what it deletes: each finished row stands in one of the two.
Index(
    "request_kept_idx",
    request.c.mode,
    request.c.completed_at,
    postgresql_where=text("event_sent_at IS NOT NULL AND cleared_at IS NULL"),
)
Index(
    "request_cleared_idx",
    request.c.mode,
    request.c.completed_at,
    postgresql_where=text("cleared_at IS NOT NULL"),
)
# Few entries: all rows of one transaction share theirs. Triggers of 0006 write the column.
Index(
    "request_changed_in_idx",
    request.c.changed_in,
    postgresql_where=text("completed_at IS NOT NULL"),
)
Index("request_open_idx", request.c.requested_at, postgresql_where=text("completed_at IS NULL"))

# No foreign key to `request`: whatever deletes a row deletes its calls in the same statement, and a
# key would be looked up once more for each call.
provider_call = Table(
    "provider_call",
    metadata,
    Column(
        "request_id",
        Text,
        primary_key=True,
        comment="The request that the call was made for.",
    ),
    Column(
        "call_number",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="1 for the first call of a request.",
    ),
    _text("mode", "live or sandbox.", nullable=False),
    _text("worker", "Worker process and batch that made the call.", nullable=False),
    Column(
        "started_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
        comment="When the intent to call was committed, before anything was sent.",
    ),
    _time("finished_at", "When the call's end was recorded; null while it runs."),
    _text("class", "What became of it: answered, in_doubt, not_sent, throttled, …"),
    Column("http_status", SmallInteger, comment="HTTP status of the answer."),
    _text("status", "The provider's own status word."),
    _text("provider_request_id", "The provider's id of the call."),
    Column(
        "charged",
        Text,
        nullable=False,
        server_default=text("'unknown'"),
        comment="yes, no or unknown.",
    ),
    _count("sends", "How often it was sent; all but the last one provably free."),
    Column("milliseconds", BigInteger, comment="How long it took."),
    CheckConstraint("charged IN ('yes', 'no', 'unknown')", name="charged"),
    comment="One row per call to the provider; the intent is committed before the call leaves.",
    postgresql_with={"fillfactor": "80"},
)

Index("provider_call_started_at_idx", provider_call.c.started_at)

call_quota = Table(
    "call_quota",
    metadata,
    Column("mode", Text, primary_key=True, comment="live or sandbox."),
    _time("next_call_at", "The next free place for a call of any worker.", nullable=False),
    Column("day", Date, nullable=False, comment="Calendar day in Asia/Shanghai of calls_today."),
    _count("calls_today", "Calls that all workers intended on that day, against the budget."),
    CheckConstraint("mode IN ('live', 'sandbox')", name="mode"),
    CheckConstraint("calls_today >= 0", name="calls_today"),
    comment="One row per mode: what all workers have used of the limits on calls.",
)

fleet_control = Table(
    "fleet_control",
    metadata,
    Column(
        "single",
        Boolean,
        primary_key=True,
        server_default=text("true"),
        comment="Always true: there is one row at most.",
    ),
    _time("paused_at", "Since when no worker may begin a call; null: they work."),
    _text("paused_by", "Who ordered the pause."),
    _text("reason", "Why, in the words of who ordered it."),
    CheckConstraint("single", name="single"),
    CheckConstraint(
        "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (reason IS NULL)",
        name="paused",
    ),
    comment="What people order all workers at once; without a row they work.",
)
