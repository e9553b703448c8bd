"""Core values to rows of `request` and back, and what such a row says, in SQL."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Row

from worker.core.claims import AlreadyDone, ClaimRequest, Entry, HeldElsewhere
from worker.core.outcome import (
    AuthInfo,
    CallClass,
    CallReport,
    Charged,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    Result,
    RetryLater,
    StoredResult,
)
from worker.core.request import Lane, Mode
from worker.ports import LedgerRefused

T = TypeVar("T")


# The partial indexes of `migrations.tables` stand on these conditions, so a query names them in
# these words.
OPEN = "completed_at IS NULL"
UNSENT = "completed_at IS NOT NULL AND event_sent_at IS NULL"
# Announced, and whole: neither age nor an erasure has cleared what is about the person.
KEPT = "event_sent_at IS NOT NULL AND cleared_at IS NULL"
# Its worker is gone: nobody works on it until somebody takes it over.
LAPSED = "state = 'working' AND lease_until < now()"

# The calendar day that the provider bills by (`core.timing`).
TODAY = "(now() AT TIME ZONE 'Asia/Shanghai')::date"

# What becomes of a call without an end when its request goes on without its worker.
DOUBTED = "class = 'in_doubt', charged = 'unknown', finished_at = now()"
# What so many such calls make of their request's charge.
CHARGED_AFTER_DOUBTS = "CASE WHEN doubts > 0 AND r.charged = 'no' THEN 'unknown' ELSE r.charged END"

# What `stored_result` reads.
RESULT_COLUMNS = """request_id, source, check_type, mode, state, calls, charged,
       context::text AS context, outcome, auth_success, auth_has_exception, auth_code, auth_message,
       auth_detail, provider_request_id, error_kind, error_message, error_fields, reused_from,
       requested_at, completed_at, settled_at"""


def claim_batch(batch: Sequence[ClaimRequest]) -> str:
    """Return the claim statement's JSON array."""
    return as_json([_asked(asked) for asked in batch])


def _asked(asked: ClaimRequest) -> dict[str, object]:
    digest, masked, envelope = asked.digest, asked.masked, asked.envelope
    row: dict[str, object] = {
        "request_id": asked.request_id,
        "fingerprint": bytea(digest.fingerprint),
        "digest_key": digest.key_id,
        "source": asked.source,
        "check_type": asked.check_type,
        "wants_call": asked.wants_call,
        "subject_digest": bytea(digest.subject),
        "masked_name": masked.name,
        "masked_id_card": masked.id_card,
        "masked_bankcard": masked.bankcard,
        "masked_mobile": masked.mobile,
        "masked_portrait": masked.portrait,
        "context": None if asked.context is None else orjson.Fragment(asked.context),
        "reply_to": envelope.reply_to,
        "correlation_id": envelope.correlation_id,
        "traceparent": envelope.traceparent,
        "expires_at": asked.expires_at,
        "published_at": asked.published_at,
    }
    if asked.lane is not Lane.LIVE:
        row["lane"] = asked.lane
    return row


def bytea(value: bytes | None) -> str | None:
    """Return bytes as PostgreSQL reads them from a text."""
    return None if value is None else "\\x" + value.hex()


def record_batch(batch: Sequence[Entry]) -> str:
    """Return the record statement's JSON array."""
    return as_json([_entry(entry) for entry in batch])


def as_json(rows: list[dict[str, object]]) -> str:
    """Return rows as one parameter; raise `LedgerRefused` where a text is none."""
    try:
        return orjson.dumps(rows).decode()
    except orjson.JSONEncodeError:
        # Half a character (a lone surrogate) is in one of the texts.
        raise LedgerRefused("a text is not UTF-8") from None


def _entry(entry: Entry) -> dict[str, object]:
    row: dict[str, object] = {
        "request_id": entry.granted.request_id,
        "owner": entry.granted.owner,
        "grant_number": entry.granted.grant,
        "charged_before": entry.granted.charged,
        "charged": entry.decision.charged if isinstance(entry.decision, RetryLater) else None,
        "counted": 0,
        "doubted": 0,
    }
    if isinstance(entry.decision, RetryLater):
        row |= {"counted": int(entry.decision.counted), "delay": entry.decision.delay}
    else:
        row |= _result(entry.decision.result)
    if entry.report is not None:
        row |= booked_call(entry.report)
        row["call_number"] = entry.granted.call_number
        row["doubted"] = int(entry.report.call_class is CallClass.IN_DOUBT)
    return row


def _result(result: Result) -> dict[str, object]:
    row: dict[str, object] = {
        "outcome": result.outcome,
        "charged": result.charged,
        "provider_request_id": result.provider_request_id,
        "reused_from": result.reused_from,
    }
    if result.auth_info is not None:
        info = result.auth_info
        row |= {
            "auth_success": info.success,
            "auth_has_exception": info.has_exception,
            "auth_code": info.code,
            "auth_message": info.message,
            "auth_detail": info.detail,
        }
    if result.failure is not None:
        failure = result.failure
        row |= {"error_kind": failure.kind, "error_message": failure.message}
        row["error_fields"] = [
            {"field": each.field, "problem": each.problem} for each in failure.fields
        ] or None
    return row


def booked_call(report: CallReport) -> dict[str, object]:
    """Return what the ledger keeps of a call."""
    return {
        "call_class": report.call_class,
        "call_http_status": report.http_status,
        "call_status": report.status,
        "call_request_id": report.provider_request_id,
        "call_charged": report.charged,
        "call_sends": report.sends,
        "call_milliseconds": round(report.seconds * 1000),
        "call_not_sent_because": report.not_sent_because,
    }


def recorded_result(entry: Entry, row: Row[Any]) -> StoredResult | None:
    """Return what a recorded row says; None where it has no outcome.

    The row was written by the first copy of the request; a later copy that finishes it may name
    another source or context.
    """
    if isinstance(entry.decision, RetryLater):
        return None
    result = entry.decision.result
    if row.charged != result.charged:
        result = replace(result, charged=Charged(row.charged))
    return _stored(row, result)


def not_claimed(row: Row[Any]) -> AlreadyDone | HeldElsewhere:
    """Return why a row could not be claimed: it is done, not due yet, or somebody has it."""
    if row.state == "done":
        return AlreadyDone(stored_result(row))
    if row.state == "waiting" and row.due_at is not None:
        return HeldElsewhere(max(0.0, (row.due_at - row.read_at).total_seconds()))
    return HeldElsewhere()


def stored_result(row: Row[Any]) -> StoredResult:
    """Return a finished request out of its `RESULT_COLUMNS`."""
    # An answer without its two flags is a protocol error, and its words are worth keeping.
    told = (
        row.auth_success,
        row.auth_has_exception,
        row.auth_code,
        row.auth_message,
        row.auth_detail,
    )
    auth_info = AuthInfo(*told) if any(each is not None for each in told) else None
    failure = None
    if row.error_kind is not None:
        problems = tuple(FieldProblem(**each) for each in row.error_fields or ())
        failure = Failure(ErrorKind(row.error_kind), row.error_message, problems)
    result = Result(
        Outcome(row.outcome),
        Charged(row.charged),
        auth_info,
        row.provider_request_id,
        failure,
        row.reused_from,
    )
    return _stored(row, result, announced=row.settled_at is not None)


def _stored(row: Row[Any], result: Result, *, announced: bool = False) -> StoredResult:
    return StoredResult(
        row.request_id,
        row.source,
        row.check_type,
        Mode(row.mode),
        result,
        row.calls,
        row.requested_at,
        row.completed_at,
        row.context,
        announced,
    )


_reader = cache(TypeAdapter[Any])


def from_columns(kind: type[T], row: Row[Any], **other: object) -> T:
    """Return a dataclass's value, of its fields' types: from `other`, or else from its columns."""
    value: T = _reader(kind).validate_python({**row._mapping, **other})  # type: ignore[arg-type]
    return value
