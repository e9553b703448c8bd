"""A result event: its body keeps the published schema, its properties the contract."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest
from jsonschema import Draft202012Validator

from worker.contract.result_v1 import ResultV1, answer_event, result_event
from worker.contract.schemas import request_schema, result_schema
from worker.core.claims import Envelope
from worker.core.delivery import answer_event_id, result_event_id
from worker.core.outcome import (
    AuthInfo,
    Charged,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    Result,
    StoredResult,
)
from worker.core.request import Mode

SCHEMA = result_schema()
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
ASKED = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
DONE = datetime(2026, 3, 1, 20, 0, 1, tzinfo=timezone(timedelta(hours=8)))
INFO = AuthInfo(success=True, has_exception=False, code="ok", message="一致", detail="{}")
MATCH = StoredResult(
    "onb-1",
    "onboarding-web",
    2,
    Mode.LIVE,
    Result(Outcome.MATCH, Charged.YES, INFO, "provider-1"),
    1,
    ASKED,
    DONE,
    '{"applicant":42,"名":1.50}',
)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def failed(outcome: Outcome, kind: ErrorKind, *fields: FieldProblem) -> StoredResult:
    failure = Failure(kind, "why there is no answer", fields)
    return replace(MATCH, result=Result(outcome, failure=failure), calls=0, context=None)


def conflict(envelope: Envelope, request_id: str | None = "onb-1") -> Any:
    return answer_event(
        Outcome.CONFLICT,
        Failure(ErrorKind.CONFLICT, "known with other data"),
        envelope,
        request_id=request_id,
        source="onboarding-web",
        fingerprint=b"f",
        mode=Mode.SANDBOX,
        now=ASKED,
    )


@pytest.mark.parametrize(
    "stored",
    [
        MATCH,
        replace(MATCH, result=Result(Outcome.MISMATCH, Charged.YES, replace(INFO, success=False))),
        replace(MATCH, result=Result(Outcome.NO_RECORD, Charged.NO, replace(INFO, success=False))),
        failed(Outcome.REJECTED, ErrorKind.INVALID_REQUEST, FieldProblem("a.b", "is required")),
        replace(failed(Outcome.REJECTED, ErrorKind.INVALID_REQUEST), check_type=None),
        *(failed(Outcome.FAILED, kind) for kind in ErrorKind),
        failed(Outcome.EXPIRED, ErrorKind.EXPIRED),
        replace(
            MATCH, result=replace(MATCH.result, auth_info=AuthInfo(None, None, None, None, None))
        ),
    ],
)
def test_the_body_of_every_outcome_keeps_the_schema(stored: StoredResult) -> None:
    body = orjson.loads(result_event(stored, Envelope()).body)
    VALIDATOR.validate(body)
    assert set(body) == set(SCHEMA["required"])  # a consumer never asks whether a key is there
    ResultV1.model_validate_json(result_event(stored, Envelope()).body)


def test_only_a_reused_answer_names_the_request_that_paid_it() -> None:
    stored = replace(MATCH, result=replace(MATCH.result, reused_from="onb-0"))
    body = orjson.loads(result_event(stored, Envelope()).body)
    VALIDATOR.validate(body)
    always = set(SCHEMA["required"])
    assert set(body) - always == set(SCHEMA["properties"]) - always == {"reusedFrom"}
    assert body["reusedFrom"] == "onb-0"


@pytest.mark.parametrize("request_id", ["onb-1", None])
def test_the_body_of_an_answer_keeps_the_schema(request_id: str | None) -> None:
    event = conflict(Envelope(), request_id)
    VALIDATOR.validate(orjson.loads(event.body))
    assert orjson.loads(event.body)["requestId"] == request_id
    assert event.event_of is None  # no row is marked


def test_the_body_says_all_that_the_row_says() -> None:
    assert orjson.loads(result_event(MATCH, Envelope()).body) == {
        "eventId": result_event_id("onb-1"),
        "requestId": "onb-1",
        "source": "onboarding-web",
        "outcome": "match",
        "checkType": 2,
        "authInfo": {
            "success": True,
            "hasException": False,
            "code": "ok",
            "message": "一致",
            "detail": "{}",
        },
        "providerRequestId": "provider-1",
        "charged": "yes",
        "calls": 1,
        "mode": "live",
        "error": None,
        "requestedAt": "2026-03-01T12:00:00.123Z",
        "completedAt": "2026-03-01T12:00:01.000Z",  # UTC, whatever zone the database speaks
        "context": {"applicant": 42, "名": 1.5},
    }
    assert f'"context":{MATCH.context}'.encode() in result_event(MATCH, Envelope()).body


def test_the_properties_are_those_of_the_contract() -> None:
    event = result_event(MATCH, Envelope(traceparent=TRACE))
    assert event.exchange == "verification.results"
    assert event.type == "verification.result.v1"
    assert event.message_id == result_event_id("onb-1")
    assert event.timestamp == int(DONE.timestamp())
    assert event.headers == {"outcome": "match", "source": "onboarding-web", "traceparent": TRACE}
    assert event.event_of == "onb-1"
    assert event.reply_to is None


def test_a_repeat_differs_in_its_address_alone() -> None:
    one, other = (result_event(MATCH, each) for each in (Envelope(), Envelope("my.key", "c-1")))
    assert (one.body, one.message_id) == (other.body, other.message_id)
    assert (one.routing_key, other.routing_key) == ("onboarding-web.match", "my.key")


def test_the_id_of_a_result_event_never_changes() -> None:
    """Consumers recognise repeats by it, also those that an older release sent."""
    assert result_event_id("onb-1") == "f3021e3c-4e12-5b00-83c8-12e52311357e"
    assert UUID(result_event_id("张三")).version == 5


def test_different_events_have_different_ids() -> None:
    ids = [
        result_event_id("onb-1"),
        result_event_id("onb-2"),
        answer_event_id(Outcome.CONFLICT, b"onb-1"),
        answer_event_id(Outcome.CONFLICT, b"onb-2"),
        answer_event_id(Outcome.REJECTED, b"onb-1"),
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("own", "request_id", "expected"),
    [
        ("c-1", "onb-1", "c-1"),
        (None, "onb-1", "onb-1"),
        (None, "é" * 127, "é" * 127),
        (None, "é" * 128, None),  # 256 bytes: AMQP cannot carry it
        (None, None, None),
        ("c-1", None, "c-1"),
    ],
)
def test_an_event_is_correlated_by_the_sender_s_id_or_the_request_s(
    own: str | None, request_id: str | None, expected: str | None
) -> None:
    assert conflict(Envelope(correlation_id=own), request_id).correlation_id == expected
    if request_id is not None:
        event = result_event(replace(MATCH, request_id=request_id), Envelope(correlation_id=own))
        assert event.correlation_id == expected


def test_the_request_schema_knows_the_fields_of_each_check_type() -> None:
    validator = Draft202012Validator(request_schema())
    user = {"name": "张三", "idCard": "11010519491231002X"}
    good = {"personalSpec": {"checkType": 2, "personalUser": user}}
    assert validator.is_valid(good)
    for bad in ({"checkType": 4, "personalUser": user}, {"checkType": 2, "personalUser": {}}):
        assert not validator.is_valid({"personalSpec": bad})
    surplus = {"checkType": 2, "personalUser": {**user, "mobile": "13912345678"}}
    assert not validator.is_valid({"personalSpec": surplus})
