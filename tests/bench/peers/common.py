"""What all peers share: settings, the table, requests, the signature, answers, events. No I/O."""

from __future__ import annotations

import hmac
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import uuid4

import orjson

from worker.provider.signing import JdCloudAuth, Scope

RESULTS = "peer.results"
"""The topic exchange of the events."""

CONNECT_SECONDS, CALL_SECONDS = 3.0, 25.0
_DIGEST_KEY = b"the digest key of a benchmark"

SCHEMA = """
CREATE TABLE IF NOT EXISTS peer_request (
    request_id text PRIMARY KEY,
    fingerprint bytea NOT NULL,
    subject_digest bytea NOT NULL,
    source text NOT NULL,
    check_type smallint NOT NULL,
    masked_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('calling', 'done')),
    outcome text,
    charged text,
    success boolean,
    has_exception boolean,
    code text,
    message text,
    detail text,
    provider_request_id text,
    requested_at timestamptz NOT NULL,
    completed_at timestamptz
)"""

# Each is a whole transaction: on a connection in autocommit it costs one round trip.
CLAIM = """
INSERT INTO peer_request (request_id, fingerprint, subject_digest, source, check_type, masked_name,
                          state, requested_at)
VALUES (%s, %s, %s, %s, %s, %s, 'calling', now())
ON CONFLICT (request_id) DO NOTHING RETURNING request_id"""
FIND = """
SELECT fingerprint, state, outcome, charged, success, has_exception, code, message, detail,
       provider_request_id
  FROM peer_request WHERE request_id = %s"""
FINISH = """
UPDATE peer_request
   SET outcome = %s, charged = %s, success = %s, has_exception = %s, code = %s, message = %s,
       detail = %s, provider_request_id = %s, state = 'done', completed_at = now()
 WHERE request_id = %s"""

_FIELDS = {
    0: ("name", "idCard", "bankcard", "mobile"),
    1: ("name", "idCard", "bankcard"),
    2: ("name", "idCard"),
    3: ("name", "idCard", "imgBase64"),
    4: ("name", "idCard", "mobile"),
}
_SOURCE = re.compile(r"[a-z0-9-]{1,64}")
_NO_RECORD = re.compile("查无|无记录|库中无")
_CHARGED = {"1": "yes", "0": "no"}


class InvalidRequest(Exception):
    """The message will never be a request: it is rejected, not repeated."""


class CallFailed(Exception):
    """The provider gave no answer: the message is delivered again."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A peer's environment; `connections` are those to PostgreSQL."""

    amqp_url: str
    database_url: str = field(repr=False)
    provider_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    concurrency: int
    prefetch: int
    connections: int

    @classmethod
    def from_environment(cls) -> Settings:
        """Read them; without DATABASE_CONNECTIONS one for each call in flight, at most 16."""
        env = os.environ
        concurrency = int(env["CONCURRENCY"])
        return cls(
            amqp_url=env["AMQP_URL"],
            database_url=env["DATABASE_URL"],
            provider_url=env["PROVIDER_URL"],
            access_key=env["PROVIDER_ACCESS_KEY"],
            secret_key=env["PROVIDER_SECRET_KEY"],
            concurrency=concurrency,
            prefetch=int(env["PREFETCH"]),
            connections=int(env.get("DATABASE_CONNECTIONS", min(concurrency, 16))),
        )


class Request(NamedTuple):
    """A request that passed the checks: CLAIM's columns in their order; last, what is sent."""

    request_id: str
    fingerprint: bytes
    subject_digest: bytes
    source: str
    check_type: int
    masked_name: str
    body: bytes


class Answer(NamedTuple):
    """The columns of an answer, in the order of FIND and FINISH."""

    outcome: str
    charged: str
    success: bool
    has_exception: bool
    code: str | None
    message: str | None
    detail: str | None
    provider_request_id: str | None


class Event(NamedTuple):
    """What is published on RESULTS."""

    request_id: str
    routing_key: str
    body: bytes


def read_request(message: object) -> Request:
    """Return the request in a message, parsed JSON or its bytes. Raises InvalidRequest."""
    try:
        content: Any = orjson.loads(message) if isinstance(message, bytes) else message
        request_id, spec = content["requestId"], content["personalSpec"]
        source = content.get("source", "default")
        check_type, user = spec["checkType"], spec["personalUser"]
        wanted = _FIELDS[check_type]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidRequest("not a request") from None
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= 128:
        raise InvalidRequest("requestId")
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        raise InvalidRequest("source")
    if set(user) != set(wanted) or not all(isinstance(x, str) and x for x in user.values()):
        raise InvalidRequest("personalUser")
    body = orjson.dumps({"personalSpec": spec})
    fingerprint = hmac.digest(_DIGEST_KEY, body, "sha256")
    subject = hmac.digest(_DIGEST_KEY, user["idCard"].encode(), "sha256")
    masked_name = user["name"][0] + "*"
    return Request(request_id, fingerprint, subject, source, check_type, masked_name, body)


def known_answer(request: Request, row: Any) -> Answer | None:
    """Return the answer in a row of FIND, or None while the request is in progress."""
    fingerprint, state, *answer = row
    if bytes(fingerprint) != request.fingerprint:
        raise InvalidRequest("requestId is known with other data")
    return Answer(*answer) if state == "done" else None


def read_answer(status: int, body: bytes) -> Answer:
    """Return what the provider answered. Raises CallFailed if it is no answer."""
    if status != 200:
        raise CallFailed(f"HTTP {status}")
    try:
        reply = orjson.loads(body)
        info = reply["result"]["authInfo"]
        success, has_exception, detail = info["success"], info["hasException"], info.get("detail")
    except (ValueError, KeyError, TypeError):
        raise CallFailed("the answer cannot be read") from None
    if not isinstance(success, bool) or has_exception is not False:
        raise CallFailed("the provider has an exception")
    message = info.get("message")
    if success:
        outcome = "match"
    else:
        outcome = "no_record" if _NO_RECORD.search(message or "") else "mismatch"
    return Answer(
        outcome=outcome,
        charged=_charged(detail),
        success=success,
        has_exception=has_exception,
        code=info.get("code"),
        message=message,
        detail=detail,
        provider_request_id=reply.get("requestId"),
    )


def _charged(detail: object) -> str:
    try:
        return _CHARGED.get(str(orjson.loads(str(detail))["chargeFlag"]), "unknown")
    except (ValueError, KeyError, TypeError):
        return "unknown"


def event(request: Request, answer: Answer) -> Event:
    """Return the event of a request that is done."""
    body = {
        "requestId": request.request_id,
        "source": request.source,
        "outcome": answer.outcome,
        "checkType": request.check_type,
        "authInfo": {
            "success": answer.success,
            "hasException": answer.has_exception,
            "code": answer.code,
            "message": answer.message,
            "detail": answer.detail,
        },
        "providerRequestId": answer.provider_request_id,
        "charged": answer.charged,
    }
    routing_key = f"{request.source}.{answer.outcome}"
    return Event(request.request_id, routing_key, orjson.dumps(body))


class Signer:
    """Signs calls as the worker does; any thread may."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.provider_url
        self._auth = JdCloudAuth(
            settings.access_key,
            settings.secret_key,
            Scope("JDCLOUD2", "jdcloud-api"),
            clock=lambda: datetime.now(UTC),
            nonce=lambda: str(uuid4()),
        )

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers of one send, with a date and nonce of its own."""
        headers = {"Content-Type": "application/json"}
        # All that it reads of a prepared request, for clients that have another one.
        send: Any = SimpleNamespace(method="POST", url=self._url, headers=headers, body=body)
        self._auth(send)
        return headers
