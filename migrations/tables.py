"""The tables of schema `verification`, with the comments that people read in `psql`.

The steps in `versions` create them; `alembic check` proves that both say the same.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON

from worker.store.rows import KEPT, OPEN, UNSENT

SCHEMA = "verification"

metadata = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    },
)


# Migration 0011 says why.
_SOON_VACUUMED = {
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}


def _text(name: str, comment: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, comment=comment, **options)


def _time(name: str, comment: str, **options: Any) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), comment=comment, **options)


def _flag(name: str, comment: str, **options: Any) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, comment=comment, **options)


def _count(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"), comment=comment)


request = sa.Table(
    "request",
    metadata,
    _text("request_id", "Idempotency key of the publisher.", primary_key=True),
    sa.Column(
        "fingerprint",
        sa.LargeBinary,
        nullable=False,
        comment="Keyed digest of what is asked; the same id with another one is a conflict. "
        "Empty where the person was erased.",
    ),
    _text("digest_key", "Id of the DIGEST_KEY of both digests; null: from before keys had ids."),
    _text("source", "Publishing system.", nullable=False),
    sa.Column("check_type", sa.SmallInteger, comment="0 to 4; null where the message names none."),
    _text("mode", "live or sandbox: where the answer comes from.", nullable=False),
    _text(
        "state",
        "working (leased), waiting (for another attempt) or done (has its outcome).",
        nullable=False,
    ),
    _text("lease_owner", "Worker process and batch that works on the request."),
    _time("lease_until", "Until when the owner may work on it; null where nobody does."),
    _time("due_at", "When the next attempt of a waiting request is due; null: at once."),
    _count("grants", "How often the request was claimed; fences stale owners out."),
    _count("attempts", "Attempts that count towards the limit of retries."),
    _count("calls", "Calls to the provider."),
    _count("in_doubt_calls", "Calls that may have been charged without an answer."),
    _text(
        "charged",
        "Worst of the calls: yes, unknown or no.",
        nullable=False,
        server_default=sa.text("'no'"),
    ),
    sa.Column(
        "subject_digest", sa.LargeBinary, comment="HMAC-SHA256 of the ID number: digest command."
    ),
    _text("masked_name", "Name, first character only."),
    _text("masked_id_card", "ID number, first and last character only."),
    _text("masked_bankcard", "Bank card number, last four digits only."),
    _text("masked_mobile", "Mobile number, first three and last four digits only."),
    _text("masked_portrait", "Size of the image."),
    sa.Column("context", JSON, comment="The publisher's own object, echoed in the event."),
    _text("reply_to", "Routing key of the event, where the sender set one."),
    _text("correlation_id", "The sender's correlation id."),
    _text("traceparent", "W3C trace context of the request."),
    _time("expires_at", "Past it no call is made."),
    _text("outcome", "match, mismatch, no_record, rejected, failed or expired."),
    _flag("auth_success", "authInfo.success as the provider said it."),
    _flag("auth_has_exception", "authInfo.hasException, likewise."),
    _text("auth_code", "authInfo.code."),
    _text("auth_message", "authInfo.message, scrubbed of personal data."),
    _text("auth_detail", "authInfo.detail, scrubbed of personal data."),
    _text("provider_request_id", "The provider's id of the call that gave the answer."),
    _text("error_kind", "Why there is no answer: a code."),
    _text("error_message", "Why there is no answer: words."),
    sa.Column("error_fields", JSON, comment="Refused fields and what is wrong with each."),
    _text("reused_from", "The request whose paid answer was given again here, without a call."),
    _time(
        "requested_at",
        "When a worker first saw the request.",
        nullable=False,
        server_default=sa.func.now(),
    ),
    _time("completed_at", "When the outcome was saved."),
    _time("event_sent_at", "When the broker had confirmed the result event."),
    _time("settled_at", "When the broker had confirmed all that the message caused."),
    _time(
        "event_retry_at",
        "Until when an unsent event is left to the relay that took it; it may have crashed.",
    ),
    _time("cleared_at", "When masked data, digest and context were cleared; the rest stays."),
    sa.Column(
        "changed_in",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="Epoch and transaction that saved the outcome, or cleared it later: see the view "
        "changes.",
    ),
    _time(
        "published_at",
        "When it was published: AMQP's timestamp; null where the publisher set none.",
    ),
    _text("lane", "bulk where the request came by the bulk lane; null: by the live one."),
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
    _text("request_id", "The request that the call was made for.", primary_key=True),
    sa.Column(
        "call_number",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="1 for the first call of a request.",
    ),
    _text("mode", "live or sandbox.", nullable=False),
    _text("worker", "Worker process and batch that made the call.", nullable=False),
    _time(
        "started_at",
        "When the intent to call was committed, before anything was sent.",
        nullable=False,
        server_default=sa.func.now(),
    ),
    _time("finished_at", "When the call's end was recorded; null while it runs."),
    _text("class", "What became of it: answered, in_doubt, not_sent, throttled, …"),
    sa.Column("http_status", sa.SmallInteger, comment="HTTP status of the answer."),
    _text("status", "The provider's own status word."),
    _text("provider_request_id", "The provider's id of the call."),
    _text("charged", "yes, no or unknown.", nullable=False, server_default=sa.text("'unknown'")),
    _count("sends", "How often it was sent; all but the last one provably free."),
    sa.Column("milliseconds", sa.BigInteger, comment="How long it took."),
    _text("not_sent_because", "Why no byte of it left: dns, refused, tls_untrusted, proxy, …"),
    _text("source", "Publishing system of its request; null: from before this was kept."),
    sa.Column("check_type", sa.SmallInteger, comment="Check type of its request; null likewise."),
    _time(
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

turned_away = sa.Table(
    "turned_away",
    metadata,
    sa.Column("day", sa.Date, primary_key=True, comment="Calendar day in Asia/Shanghai."),
    _text("mode", "live or sandbox: of the worker that turned them away.", primary_key=True),
    _text("source", "Publishing system; empty: it cannot be told.", primary_key=True),
    _text(
        "reason",
        "conflict, mode_mismatch, or why it cannot be read: not_json, no_usable_id, …",
        primary_key=True,
    ),
    sa.Column("messages", sa.BigInteger, nullable=False, comment="How many."),
    sa.CheckConstraint("mode IN ('live', 'sandbox')", name="mode"),
    comment="Messages that were answered or kept as dead letters and left no row of their own, "
    "by day.",
)

call_quota = sa.Table(
    "call_quota",
    metadata,
    _text("mode", "live or sandbox.", primary_key=True),
    _time("next_call_at", "The next free place for a call of any worker.", nullable=False),
    sa.Column(
        "day", sa.Date, nullable=False, comment="Calendar day in Asia/Shanghai of calls_today."
    ),
    _count("calls_today", "Calls that all workers intended on that day, against the budget."),
    _time("live_at", "When a place was given to a live request last."),
    _count("bulk_credit", "What bulk is owed: BULK_SHARE for each live call, less its own."),
    sa.Column("bulk_day", sa.Date, comment="Calendar day in Asia/Shanghai of bulk_calls."),
    _count("bulk_calls", "Those of calls_today that are bulk's."),
    sa.CheckConstraint("mode IN ('live', 'sandbox')", name="mode"),
    sa.CheckConstraint("calls_today >= 0", name="calls_today"),
    comment="One row per mode: what all workers have used of the limits on calls.",
)

fleet_control = sa.Table(
    "fleet_control",
    metadata,
    _flag(
        "single",
        "Always true: there is one row at most.",
        primary_key=True,
        server_default=sa.text("true"),
    ),
    _time("paused_at", "Since when no worker may begin a call; null: they work."),
    _text("paused_by", "Who ordered the pause."),
    _text("reason", "Why, in the words of who ordered it."),
    sa.CheckConstraint("single", name="single"),
    sa.CheckConstraint(
        "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (reason IS NULL)",
        name="paused",
    ),
    comment="What people order all workers at once; without a row they work.",
)

worker = sa.Table(
    "worker",
    metadata,
    _text("name", "Host, pid and a random part.", primary_key=True),
    _text("mode", "live or sandbox.", nullable=False),
    _text("version", "Its release.", nullable=False),
    _time("started_at", "When it began.", nullable=False, server_default=sa.func.now()),
    _time(
        "seen_at",
        "When it said so; a running worker does every few seconds.",
        nullable=False,
        server_default=sa.func.now(),
    ),
    _text("state", "working, parked, probing or not ready.", nullable=False),
    _text("reason", "Why, where it does not simply work."),
    _time("probe_at", "When a parked worker tries the provider again."),
    _count("held", "Messages delivered to it and not acknowledged."),
    _count("claimed", "Requests with a lease of its own that are not recorded."),
    _count("calls_under_way", "Its calls that have no end yet."),
    _count("calls_allowed", "How many may be under way at once."),
    _count("returned", "Messages given up by the broker that it has put back."),
    comment="One row per running worker, which it refreshes; for the command status.",
    postgresql_with={"fillfactor": "50"},
)

change_epoch = sa.Table(
    "change_epoch",
    metadata,
    _flag(
        "single",
        "Always true: there is one row.",
        primary_key=True,
        server_default=sa.text("true"),
    ),
    sa.Column(
        "epoch",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="How often the rows have moved to another server or timeline.",
    ),
    _text(
        "server",
        "Where this epoch began: the server's system identifier, timeline.",
        nullable=False,
    ),
    sa.CheckConstraint("single", name="single"),
    sa.CheckConstraint("epoch BETWEEN 0 AND 9000", name="epoch"),
    comment="One row: which epoch the numbers of changes are of.",
)
