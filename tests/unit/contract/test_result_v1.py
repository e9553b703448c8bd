"""Events as they leave: true to the schema, addressed to who asked, the same at every repeat."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from jsonschema import Draft202012Validator

from worker.contract import internal
from worker.contract.result_v1 import answer_event, result_event
from worker.contract.schemas import request_schema, result_schema
from worker.core.claims import Envelope
from worker.core.delivery import Delivery
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

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ANSWER = Result(Outcome.MATCH, Charged.YES, AuthInfo(True, False, "ok", "m", None), "p-1")
STORED = StoredResult("r-1", "web", 2, Mode.LIVE, ANSWER, 1, NOW, NOW, '{"a":1}')
FAILURE = Failure(ErrorKind.INVALID_REQUEST, "words", (FieldProblem("source", "is odd"),))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_event_is_true_to_its_schema(outcome: Outcome) -> None:
    for result in (replace(ANSWER, outcome=outcome), Result(outcome, failure=FAILURE)):
        event = result_event(replace(STORED, result=result, context=None), Envelope())
        Draft202012Validator(result_schema()).validate(json.loads(event.body))


def test_an_event_says_what_the_row_says() -> None:
    event = result_event(STORED, Envelope())
    body = json.loads(event.body)
    assert body["requestedAt"] == "2026-01-02T03:04:05.678Z"
    assert body["context"] == {"a": 1}
    assert event.routing_key == "web.match"
    assert event.correlation_id == event.event_of == "r-1"
    assert event.message_id == body["eventId"]
    assert event.type == "verification.result.v1"


def test_a_repeat_differs_in_its_address_alone() -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    one = result_event(STORED, Envelope())
    other = result_event(STORED, Envelope("my.key", "c-1", trace))
    assert (one.body, one.message_id) == (other.body, other.message_id)
    assert (other.routing_key, other.correlation_id) == ("my.key", "c-1")
    assert other.headers["traceparent"] == trace


def test_an_answer_without_a_row_is_true_to_the_schema_and_marks_none() -> None:
    event = answer_event(
        Outcome.REJECTED,
        FAILURE,
        Envelope("back"),
        request_id=None,
        source="default",
        fingerprint=b"f",
        mode=Mode.SANDBOX,
        now=NOW,
    )
    Draft202012Validator(result_schema()).validate(json.loads(event.body))
    assert event.event_of is event.correlation_id is None


def test_the_request_schema_knows_the_fields_of_each_check_type() -> None:
    validator = Draft202012Validator(request_schema())
    user = {"name": "张三", "idCard": "11010519491231002X"}
    good = {"personalSpec": {"checkType": 2, "personalUser": user}}
    assert validator.is_valid(good)
    for bad in ({"checkType": 4, "personalUser": user}, {"checkType": 2, "personalUser": {}}):
        assert not validator.is_valid({"personalSpec": bad})
    surplus = {"checkType": 2, "personalUser": {**user, "mobile": "13912345678"}}
    assert not validator.is_valid({"personalSpec": surplus})


TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def test_a_retry_is_the_same_message_for_the_delay_queue() -> None:
    delivery = Delivery(1, 1, b"body", "m", "c", "r", TRACE)
    retry = internal.retry(delivery, 120)
    assert (retry.exchange, retry.routing_key) == ("", "verification.retry.2m")
    assert (retry.body, retry.message_id, retry.correlation_id) == (b"body", "m", "c")
    assert (retry.reply_to, retry.headers) == ("r", {"traceparent": TRACE})


def test_a_dead_letter_carries_its_reason_in_headers_of_ours() -> None:
    dead = internal.dead_letter(
        Delivery(1, 1, b"body"), "in_doubt", attempts=2, last_error="in_doubt", first_seen=NOW
    )
    assert dead.routing_key == "verification.dead"
    assert dead.headers == {
        "reason": "in_doubt",
        "attempts": 2,
        "firstSeen": "2026-01-02T03:04:05.678Z",
        "lastError": "in_doubt",
    }
    assert not any(name.startswith("x-") for name in dead.headers)
