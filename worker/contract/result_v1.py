"""A result event as published: its body and the properties around it. Pure.

Where `EVENT_FORMAT` is `cloudevents` its headers are a CloudEvent's attributes, too: binary content
mode of the CloudEvents AMQP protocol binding 1.0.2. The body stays as it is, `content_type` is its
type, and each attribute is an application property whose name begins with `cloudEvents_` (the
binding's spelling that JMS can read, too). RabbitMQ hands headers of AMQP 0-9-1 to consumers of
AMQP 1.0 as application properties, so both see the same event. Times are in their canonical form,
as text.
"""

from datetime import datetime
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from worker.contract.names import EVENT_TYPE, RESULTS, rfc3339
from worker.core.claims import Envelope
from worker.core.delivery import EventFormat, Publication, answer_event_id, result_event_id
from worker.core.outcome import AuthInfo, Charged, ErrorKind, Failure, Outcome, Result, StoredResult
from worker.core.request import Mode

CLOUD_PREFIX = "cloudEvents_"


class _Open(BaseModel):
    # Results grow: who reads them ignores fields that it does not know.
    model_config = ConfigDict(extra="allow", frozen=True)


class AuthInfoV1(_Open):
    """The provider's answer, scrubbed of personal data."""

    success: bool | None
    hasException: bool | None  # noqa: N815
    code: str | None
    message: str | None
    detail: str | None


class FieldProblemV1(_Open):
    """A refused field, never its value."""

    field: str
    problem: str


class ErrorV1(_Open):
    """Why there is no answer."""

    kind: str = Field(
        description=f"one of {', '.join(ErrorKind)}; later versions may add to these",
        examples=[kind.value for kind in ErrorKind],
    )
    message: str
    fields: list[FieldProblemV1]


class ResultV1(_Open):
    """A result event. This model is the schema; events are written straight from the row."""

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
    return _publication(
        stored,
        result_event_id(stored.request_id),
        envelope,
        event_format,
        asked_by or stored.source,
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
    result = Result(outcome, failure=failure)
    unstored = StoredResult(request_id or "", source, None, mode, result, 0, now, now, None)
    event_id = answer_event_id(outcome, fingerprint)
    return _publication(unstored, event_id, envelope, event_format, source)


def _publication(
    stored: StoredResult,
    event_id: str,
    envelope: Envelope,
    event_format: EventFormat,
    asked_by: str,
    event_of: str | None = None,
) -> Publication:
    result, traceparent = stored.result, envelope.traceparent
    request_id = stored.request_id or None
    completed_at = rfc3339(stored.completed_at)
    body: dict[str, object] = {
        "eventId": event_id,
        "requestId": request_id,
        "source": stored.source,
        "outcome": result.outcome,
        "checkType": stored.check_type,
        "authInfo": _auth_info(result.auth_info),
        "providerRequestId": result.provider_request_id,
        "charged": result.charged,
        "calls": stored.calls,
        "mode": stored.mode,
        "error": result.failure,
        "requestedAt": rfc3339(stored.requested_at),
        "completedAt": completed_at,
        "context": orjson.Fragment(stored.context) if stored.context is not None else None,
    }
    if result.reused_from is not None:
        body["reusedFrom"] = result.reused_from
    headers: dict[str, str | int] = {"outcome": result.outcome.value, "source": stored.source}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    if event_format is EventFormat.CLOUDEVENTS:
        attributes = {
            "specversion": "1.0",
            "id": event_id,
            # Another one for the sandbox, or its events could pass for live ones.
            "source": f"/verification-worker/{stored.mode}",
            "type": EVENT_TYPE,
            "time": completed_at,
            "subject": request_id,
            "traceparent": traceparent,
        }
        headers |= {f"{CLOUD_PREFIX}{name}": said for name, said in attributes.items() if said}
    return Publication(
        exchange=RESULTS,
        routing_key=envelope.reply_to or f"{asked_by}.{result.outcome}",
        body=orjson.dumps(body),
        message_id=event_id,
        correlation_id=_correlation_id(envelope, request_id),
        type=EVENT_TYPE,
        timestamp=int(stored.completed_at.timestamp()),
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
