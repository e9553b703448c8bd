"""Reading requests: every message ends as accepted, refused or unreadable, and never raises."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract.request_v1 import Accepted, Reading, Refused, RequestReader, Unreadable
from worker.core.checks import CheckPolicy
from worker.core.delivery import Delivery
from worker.core.request import FIELDS_BY_TYPE, CheckType, PersonField, PortraitFields

READER = RequestReader(CheckPolicy(), 1_000_000)
TODAY = date(2026, 11, 24)
FULL = {
    "name": "张三",
    "idCard": "11010519491231002X",
    "bankcard": "6222020200112230",
    "mobile": "13912345678",
    "imgBase64": b64encode(b"\xff\xd8\xff" + b"\0" * 6_000).decode(),
}


def spec(check_type: object = 2, *fields: str) -> dict[str, Any]:
    chosen = fields or ("name", "idCard")
    return {"checkType": check_type, "personalUser": {field: FULL[field] for field in chosen}}


def read(message: object, **properties: str) -> Reading:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return READER.read(Delivery(1, 1, body, **properties), TODAY)  # type: ignore[arg-type]


def good(**changes: object) -> dict[str, object]:
    return {"requestId": "r-1", "personalSpec": spec(), **changes}


def test_a_whole_request_is_accepted() -> None:
    reading = read(
        good(source="web-1", expiresAt="2026-12-01T08:00:00+08:00", context={"a": [1, "二"]}),
        reply_to="web.replies",
        correlation_id="c",
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    assert isinstance(reading, Accepted)
    assert reading.request.expires_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert reading.request.context == '{"a":[1,"二"]}'
    assert (reading.envelope.reply_to, reading.envelope.correlation_id) == ("web.replies", "c")
    assert reading.envelope.traceparent is not None


@pytest.mark.parametrize("check_type", list(CheckType))
@pytest.mark.parametrize("field", list(PersonField))
def test_each_check_type_takes_exactly_its_fields(
    check_type: CheckType, field: PersonField
) -> None:
    needed = [str(each) for each in FIELDS_BY_TYPE[check_type]]
    assert isinstance(read(good(personalSpec=spec(int(check_type), *needed))), Accepted)
    toggled = [each for each in FULL if (each in needed) != (each == field)]
    reading = read(good(personalSpec=spec(int(check_type), *toggled)))
    assert isinstance(reading, Refused)
    problem = reading.problems[0]
    assert problem.field == f"personalSpec.personalUser.{field}"
    assert ("required" in problem.problem) == (field in needed)


def test_a_portrait_may_go_with_a_bank_card_where_the_setting_says_so() -> None:
    reader = RequestReader(CheckPolicy(portrait_fields=PortraitFields.BANK_CARD), 1_000_000)
    message = good(personalSpec=spec(3, "name", "bankcard", "imgBase64"))
    body = json.dumps(message).encode()
    assert isinstance(reader.read(Delivery(1, 1, body), TODAY), Accepted)
    assert isinstance(read(message), Refused)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"personalSpec": spec("2")}, "personalSpec.checkType"),
        ({"personalSpec": spec(True)}, "personalSpec.checkType"),
        ({"personalSpec": spec(2.0)}, "personalSpec.checkType"),
        ({"personalSpec": spec(5)}, "personalSpec.checkType"),
        ({"personalSpec": [1]}, "personalSpec"),
        ({"source": "Web"}, "source"),
        ({"source": FULL["idCard"].lower()}, "source"),
        ({"typo": 1}, "typo"),
        # A field's name could hold a number: it is not repeated.
        ({FULL["mobile"]: 1}, "(unprintable name)"),
        ({"expiresAt": 1767225600}, "expiresAt"),
        ({"expiresAt": "2026-12-01"}, "expiresAt"),
        ({"expiresAt": "2026-13-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "0001-01-01T00:00:00+23:59"}, "expiresAt"),
        ({"context": []}, "context"),
        ({"context": {"a": "x" * 2048}}, "context"),
        ({"context": {"a": "\0"}}, "context"),
        ({"context": {"a": 10**40}}, "context"),
        ({"context": {"a": FULL["idCard"]}}, "context"),
    ],
)
def test_a_fault_is_refused_by_its_fields_name(changes: dict[str, object], field: str) -> None:
    reading = read(good(**changes))
    assert isinstance(reading, Refused)
    assert field in [problem.field for problem in reading.problems]
    assert not any(value in str(reading) for value in FULL.values())


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"reply_to": "x" * 300}, "properties.reply_to"),
        ({"reply_to": "a b"}, "properties.reply_to"),
        ({"reply_to": "a\r\nb"}, "properties.reply_to"),
        ({"reply_to": FULL["idCard"]}, "properties.reply_to"),
        ({"correlation_id": "a\nb"}, "properties.correlation_id"),
        ({"correlation_id": FULL["idCard"]}, "properties.correlation_id"),
    ],
)
def test_a_property_that_cannot_be_used_again_is_refused_and_forgotten(
    properties: dict[str, str], field: str
) -> None:
    reading = read(good(), **properties)
    assert isinstance(reading, Refused)
    assert [problem.field for problem in reading.problems] == [field]
    assert reading.envelope.reply_to is reading.envelope.correlation_id is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"\xff", "not_json"),
        (b'{"a":', "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"x" * 1_000_001, "too_large"),
        (json.dumps(good(requestId="x" * 129)).encode(), "no_usable_id"),
        (json.dumps(good(requestId=42)).encode(), "no_usable_id"),
        (json.dumps(good(requestId="a\tb")).encode(), "no_usable_id"),
        (json.dumps(good(requestId="id-" + FULL["idCard"].lower())).encode(), "no_usable_id"),
        (json.dumps({"personalSpec": spec()}).encode(), "no_usable_id"),
    ],
)
def test_a_message_without_a_request_is_unreadable(body: bytes, reason: str) -> None:
    reading = read(body, reply_to="a.way.back")
    assert isinstance(reading, Unreadable)
    assert reading.reason == reason
    assert reading.envelope.reply_to == "a.way.back"
    assert FULL["idCard"] not in str(reading).upper()


def test_the_message_id_stands_in_for_the_request_id() -> None:
    reading = read({"personalSpec": spec()}, message_id="m-1")
    assert isinstance(reading, Accepted)
    assert reading.request.request_id == "m-1"


def test_a_wrong_luhn_digit_is_a_warning() -> None:
    user = {**FULL, "bankcard": "6222020200112231"}
    del user["mobile"], user["imgBase64"]
    reading = read(good(personalSpec={"checkType": 1, "personalUser": user}))
    assert isinstance(reading, Accepted)
    assert [warning.field for warning in reading.warnings] == ["personalSpec.personalUser.bankcard"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(list(FULL.values())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary() | JSON.map(lambda tree: json.dumps(tree).encode()), st.none() | st.text())
def test_no_bytes_break_the_reader(body: bytes, text: str | None) -> None:
    delivery = Delivery(1, 1, body, message_id=text, correlation_id=text, reply_to=text)
    assert isinstance(READER.read(delivery, TODAY), Unreadable | Refused)


@given(st.sampled_from(["requestId", "personalSpec", "source", "expiresAt", "context"]), JSON)
def test_no_value_of_a_field_breaks_the_reader_or_shows_a_person(field: str, value: object) -> None:
    reading = read({**good(), field: value})
    if isinstance(reading, Refused | Unreadable):
        problems = reading.problems if isinstance(reading, Refused) else (reading.problem,)
        assert not any(secret in str(problems) for secret in FULL.values())
