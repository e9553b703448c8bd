"""A result event as published: its body and the properties around it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from worker.contract import cloudevents
from worker.contract.names import EVENT_TYPE, RESULTS, rfc3339
from worker.core.delivery import (
    EventFormat,
    Publication,
    answer_event_id,
    result_event_id,
    routing_key,
)
from worker.core.outcome import Charged, ErrorKind, Outcome, StoredResult

if TYPE_CHECKING:
    from worker.core.claims import Envelope
    from worker.core.outcome import AuthInfo, Failure
    from worker.core.request import Mode

# Results grow: who reads them ignores fields that it does not know.
_OPEN = ConfigDict(extra="allow", frozen=True)


class AuthInfoV1(BaseModel):
    """The provider's answer, scrubbed of personal data."""

    model_config = _OPEN

    success: bool | None
    hasException: bool | None  # noqa: N815
    code: str | None
    message: str | None
    detail: str | None


class FieldProblemV1(BaseModel):
    """A refused field, never its value."""

    model_config = _OPEN

    field: str
    problem: str


class ErrorV1(BaseModel):
    """Why there is no answer."""

    model_config = _OPEN

    kind: str = Field(
        description=f"one of {', '.join(ErrorKind)}; later versions may add to these",
        examples=[kind.value for kind in ErrorKind],
    )
    message: str
    fields: list[FieldProblemV1]


class ResultV1(BaseModel):
    """A result event. This model is the schema; events are written straight from the row."""

    model_config = _OPEN

    eventId: str = Field(description="the same for every repeat of this event")  # noqa: N815
    requestId: str | None = Field(description="null where no id could be read")  # noqa: N815
    source: str
    outcome: Outcome
    checkType: int | None = Field(ge=0, le=4)  # noqa: N815
    authInfo: AuthInfoV1 | None  # noqa: N815
    providerRequestId: str | None  # noqa: N815
    charged: Charged
    calls: int = Field(ge=0)
    mode: Literal["live", "sandbox"]
    error: ErrorV1 | None
    requestedAt: datetime  # noqa: N815
    completedAt: datetime  # noqa: N815
    context: dict[str, object] | None
    reusedFrom: str | None = Field(  # noqa: N815
        None,
        description="only where REUSE_RESULTS_FOR gave a stored answer: the request that paid it",
    )


def result_event(
    stored: StoredResult,
    envelope: Envelope,
    event_format: EventFormat = EventFormat.PLAIN,
    asked_by: str | None = None,
) -> Publication:
    """Return the event of a request's stored result, addressed to this sender.

    `asked_by` is the sender's source. Another one than the first gets the event under a key of its
    own; it does not count as the first one's, which may still wait for it.
    """
    result = stored.result
    event_id = result_event_id(stored.request_id)
    body: dict[str, object] = {
        "eventId": event_id,
        "requestId": stored.request_id,
        "source": stored.source,
        "outcome": result.outcome,
        "checkType": stored.check_type,
        "authInfo": _auth_info(result.auth_info),
        "providerRequestId": result.provider_request_id,
        "charged": result.charged,
        "calls": stored.calls,
        "mode": stored.mode,
        "error": _error(result.failure),
        "requestedAt": rfc3339(stored.requested_at),
        "completedAt": rfc3339(stored.completed_at),
        "context": orjson.Fragment(stored.context) if stored.context is not None else None,
    }
    if result.reused_from is not None:
        body["reusedFrom"] = result.reused_from
    return _publication(
        event_id,
        body,
        (stored.source, result.outcome),
        envelope,
        stored.request_id,
        (stored.mode, stored.completed_at, event_format),
        routing_key(asked_by or stored.source, result.outcome, envelope),
        event_of=stored.request_id if asked_by in (None, stored.source) else None,
    )


def answer_event(
    outcome: Outcome,
    failure: Failure,
    envelope: Envelope,
    *,
    request_id: str | None,
    source: str,
    fingerprint: bytes,
    mode: Mode,
    now: datetime,
    event_format: EventFormat = EventFormat.PLAIN,
) -> Publication:
    """Return an event for a message that has no row: a conflict, or nothing readable."""
    event_id = answer_event_id(outcome, fingerprint)
    body: dict[str, object] = {
        "eventId": event_id,
        "requestId": request_id,
        "source": source,
        "outcome": outcome,
        "checkType": None,
        "authInfo": None,
        "providerRequestId": None,
        "charged": Charged.NO,
        "calls": 0,
        "mode": mode,
        "error": _error(failure),
        "requestedAt": rfc3339(now),
        "completedAt": rfc3339(now),
        "context": None,
    }
    made, key = (mode, now, event_format), routing_key(source, outcome, envelope)
    return _publication(event_id, body, (source, outcome), envelope, request_id, made, key)


def _publication(
    event_id: str,
    body: dict[str, object],
    about: tuple[str, Outcome],
    envelope: Envelope,
    request_id: str | None,
    made: tuple[Mode, datetime, EventFormat],
    key: str,
    event_of: str | None = None,
) -> Publication:
    source, outcome = about
    mode, completed_at, event_format = made
    headers: dict[str, str | int] = {"outcome": outcome.value, "source": source}
    if envelope.traceparent is not None:
        headers["traceparent"] = envelope.traceparent
    if event_format is EventFormat.CLOUDEVENTS:
        headers |= cloudevents.attributes(
            event_id,
            mode,
            completed_at,
            request_id=request_id,
            traceparent=envelope.traceparent,
        )
    return Publication(
        exchange=RESULTS,
        routing_key=key,
        body=orjson.dumps(body),
        message_id=event_id,
        correlation_id=_correlation_id(envelope, request_id),
        type=EVENT_TYPE,
        timestamp=int(completed_at.timestamp()),
        headers=headers,
        event_of=event_of,
    )


def _correlation_id(envelope: Envelope, request_id: str | None) -> str | None:
    """Return the request's own, or else its id where AMQP can carry that (255 bytes)."""
    if envelope.correlation_id is not None:
        return envelope.correlation_id
    return request_id if request_id is not None and len(request_id.encode()) <= 255 else None


def _auth_info(info: AuthInfo | None) -> dict[str, object] | None:
    if info is None:
        return None
    return {
        "success": info.success,
        "hasException": info.has_exception,
        "code": info.code,
        "message": info.message,
        "detail": info.detail,
    }


def _error(failure: Failure | None) -> dict[str, object] | None:
    if failure is None:
        return None
    return {
        "kind": failure.kind,
        "message": failure.message,
        "fields": [{"field": each.field, "problem": each.problem} for each in failure.fields],
    }
