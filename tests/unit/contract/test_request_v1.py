"""A request as published: accepted, refused by name, or not readable; never an exception."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.fakes.messages import (
    BANKCARD,
    FIELDS_OF_TYPE,
    ID_CARD,
    MOBILE,
    NAME,
    PERSON,
    deliver,
    request,
    spec,
)
from worker.contract.request_v1 import Accepted, Reading, Refused, RequestReader, Unreadable
from worker.core.checks import CheckPolicy, LuhnCheck
from worker.core.claims import Envelope
from worker.core.request import PortraitFields

TODAY = date(2026, 3, 1)
READER = RequestReader(CheckPolicy(), 1_048_576)
USER = "personalSpec.personalUser"


def read(
    body: bytes | dict[str, Any] | None = None, reader: RequestReader = READER, **properties: Any
) -> Reading:
    return reader.read(deliver(body, **properties), TODAY)


def accepted(body: dict[str, Any], reader: RequestReader = READER, **properties: Any) -> Accepted:
    reading = read(body, reader, **properties)
    assert isinstance(reading, Accepted), reading
    return reading


def problems(reading: Reading) -> dict[str, str]:
    assert isinstance(reading, Refused), reading
    return {each.field: each.problem for each in reading.problems}


def reason(reading: Reading) -> str:
    assert isinstance(reading, Unreadable), reading
    return reading.reason


# Accepted.


def test_a_whole_request_is_read() -> None:
    reading = accepted(
        request(
            "onb-2026-000123",
            source="onboarding-web",
            expiresAt="2026-12-01T00:00:00Z",
            context={"applicant": 42, "名": ["é", None, 1.5, True]},
        ),
        correlation_id="c-1",
        reply_to="replies",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    asked = reading.request
    assert asked.request_id == "onb-2026-000123"
    assert asked.check_type == 2
    assert dict(asked.person.fields) == {"name": NAME, "idCard": ID_CARD}
    assert asked.source == "onboarding-web"
    assert asked.expires_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert asked.context == '{"applicant":42,"名":["é",null,1.5,true]}'
    assert reading.envelope == Envelope(
        "replies", "c-1", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )
    assert reading.warnings == ()


# Jackson, .NET and generated clients send null for what is not set.
@pytest.mark.parametrize(
    "unset",
    [
        {},
        dict.fromkeys(("requestId", "source", "expiresAt", "context")),
        {"personalSpec": spec(2, bankcard=None, mobile=None, imgBase64=None)},
    ],
)
def test_a_bare_request_gets_its_defaults(unset: dict[str, Any]) -> None:
    reading = accepted(request() | unset, message_id="onb-1")
    asked = reading.request
    assert (asked.source, asked.expires_at, asked.context) == ("default", None, None)
    assert reading.envelope == Envelope()


def test_a_mark_of_the_byte_order_is_no_part_of_a_request() -> None:
    assert isinstance(read(json.dumps(request()).encode("utf-8-sig")), Accepted)


# The id.


@pytest.mark.parametrize(
    ("body_id", "message_id", "usable"),
    [
        (None, "m-1", "m-1"),
        ("", "m-1", "m-1"),
        ("onb-1", "m-1", "onb-1"),
        *((each, None, each) for each in ("x", "张三 2026", "a" * 128, "é" * 128, "\U0001f600")),
    ],
)
def test_the_id_is_the_bodys_or_else_the_message_id(
    body_id: str | None, message_id: str | None, usable: str
) -> None:
    assert accepted(request(body_id), message_id=message_id).request.request_id == usable


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (request(None), None),
        (request(None), ""),
        (request(""), None),
        (request("a" * 129), "m-1"),  # a wrong id is not replaced by another
        (request("a\nb"), "m-1"),
        (request("a\x00b"), None),
        (request("a\u2028b"), None),
        (request("a\u200bb"), None),  # nobody could copy it from a screen
        (request(None), "a\tb"),
        (request(None), "a" * 129),
        ({**request(), "requestId": 7}, None),
        ({**request(), "requestId": ["onb-1"]}, None),
        ({**request("a" * 129), "unknown": 1}, None),
    ],
)
def test_without_a_usable_id_a_message_is_unreadable(
    body: dict[str, Any], message_id: str | None
) -> None:
    reading = read(body, message_id=message_id)
    assert reason(reading) == "no_usable_id"
    assert isinstance(reading, Unreadable)
    assert reading.problem.field == "requestId"


BLANK, NOT_NFC = "has a blank at its beginning or end", "is not in Unicode normal form C"


@pytest.mark.parametrize(
    ("request_id", "words"),
    [
        ("onb-1 ", [BLANK]),
        (" onb-1", [BLANK]),
        (" ", [BLANK]),
        ("e\u0301", [NOT_NFC]),
        ("\u212b", [NOT_NFC]),  # the unit, not the letter
        (" e\u0301", [BLANK, NOT_NFC]),
    ],
)
@pytest.mark.parametrize("by_message_id", [False, True])
def test_an_id_that_looks_like_another_is_refused(
    request_id: str, words: list[str], by_message_id: bool
) -> None:
    body = request(None if by_message_id else request_id)
    reading = read(body, message_id=request_id)
    assert isinstance(reading, Refused)
    assert [(each.field, each.problem) for each in reading.problems] == [
        ("requestId", problem) for problem in words
    ]
    assert reading.request_id == request_id
    # What was finished under it before this rule is still known by its data.
    assert reading.request is not None
    assert reading.request.request_id == request_id


def test_a_doubtful_id_is_named_beside_what_else_is_wrong() -> None:
    assert problems(read({**request("onb-1 "), "unknown": 1})) == {
        "unknown": "is not a known field",
        "requestId": BLANK,
    }
    assert problems(read(request("onb-1 ", expiresAt="soon"))).keys() == {"expiresAt", "requestId"}


# Not even JSON.


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"\x00", "not_json"),
        (b"{", "not_json"),
        (b'{"requestId": "x"} trailing', "not_json"),
        (b"{'requestId': 'x'}", "not_json"),
        (json.dumps(request()).encode("utf-16"), "not_json"),
        (json.dumps(request("张三"), ensure_ascii=False).encode("gb18030"), "not_json"),
        (b'{"requestId": "\\ud800"}', "not_json"),  # half of a character
        (b"[" * 100_000, "not_json"),
        (b'{"a":' * 100_000, "not_json"),
        (b"[]", "not_an_object"),
        (b'["requestId"]', "not_an_object"),
        (b"null", "not_an_object"),
        (b"7", "not_an_object"),
        (b'"onb-1"', "not_an_object"),
        (b"{}", "no_usable_id"),
    ],
)
def test_what_is_no_request_is_unreadable(body: bytes, code: str) -> None:
    assert reason(read(body)) == code


@pytest.mark.parametrize(("size", "taken"), [(1024, True), (1025, False)])
def test_the_bound_on_the_size_is_inclusive(size: int, *, taken: bool) -> None:
    body = json.dumps(request()).encode()
    reading = read(body.ljust(size), RequestReader(CheckPolicy(), 1024))
    assert isinstance(reading, Accepted) is taken


# Readable, but refused.


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"requestId": "onb-1"}, "personalSpec", "is required"),
        (request(personalSpec=None), "personalSpec", "is required"),
        (request(personalSpec=[]), "personalSpec", "must be an object"),
        (request(personalSpec={"personalUser": {}}), "personalSpec.checkType", "is required"),
        (request(personalSpec={"checkType": 2}), USER, "is required"),
        *(
            (request(personalSpec=spec() | {"checkType": value}), "personalSpec.checkType", words)
            for words, values in {
                "integer": ("2", True, 2.0, 2.5),
                "is required": (None,),
                "less than": (5, 10**30),
                "greater": (-1,),
            }.items()
            for value in values
        ),
        # a typo must not cost a call
        (request(expiresAT="2026-12-01T00:00:00Z"), "expiresAT", "is not a known field"),
        (request(personalSpec=spec() | {"x": 1}), "personalSpec.x", "is not a known field"),
        (request(personalSpec=spec(idcard=ID_CARD)), f"{USER}.idcard", "is not a known field"),
        (request(personalSpec=spec(bankCard=BANKCARD)), f"{USER}.bankCard", "not a known field"),
        # types of the person's fields
        *(
            (request(personalSpec=spec(**wrong)), f"{USER}.{name}", "must be a valid string")
            for wrong in ({"name": 7}, {"idCard": [ID_CARD]})
            for name in wrong
        ),
        # values of the person's fields
        (request(personalSpec=spec(name=None)), f"{USER}.name", "is required for checkType 2"),
        (request(personalSpec=spec(idCard="110105194912310021")), f"{USER}.idCard", "check digit"),
        (request(personalSpec=spec(4, mobile="1")), f"{USER}.mobile", "11 digits"),
        (request(personalSpec=spec(2, mobile="")), f"{USER}.mobile", "must not be sent"),
        # the rest
        # a dot would make two words of a routing key
        *(
            (request(source=text), "source", "letters a-z, digits and hyphens")
            for text in ("", "Web", "a.b", "a" * 65, "web\n")
        ),
        (request(source=7), "source", "must be a valid string"),
        (request(context=[]), "context", "must be an object"),
        (request(context="x"), "context", "must be an object"),
        (request(context={"a": "x" * 2041}), "context", "at most 2048 bytes"),
        (request(context={"a": "é" * 1021}), "context", "at most 2048 bytes"),  # bytes count
        (request(context={"a": "x\x00"}), "context", "NUL"),
        (request(context={"a\x00": 1}), "context", "NUL"),
        (request(context={"a": 10**30}), "context", "too large"),
        (request(context={"a": ID_CARD}), "context", "must not contain the person's data"),
        (request(context={"a": {ID_CARD.lower(): 1}}), "context", "must not contain"),
        *(
            (request(context={"a": blank.join((ID_CARD[:6], ID_CARD[6:]))}), "context", "must not")
            for blank in "\t\n\r\v\f\x1c\x1f"
        ),
        (request(source=MOBILE, personalSpec=spec(4)), "source", "must not contain"),
    ],
)
def test_a_readable_request_is_refused_by_name(
    body: dict[str, Any], field: str, problem: str
) -> None:
    reading = read(body)
    found = problems(reading)
    assert list(found) == [field]
    assert problem in found[field]
    assert isinstance(reading, Refused)
    assert reading.request_id == "onb-1"


def test_all_problems_are_named_at_once() -> None:
    body = request(
        expiresAt="soon",
        context={"a": "\x00"},
        personalSpec=spec(2, name="x", idCard="y", mobile=MOBILE),
    )
    assert list(problems(read(body, reply_to="a b", correlation_id="a\nb"))) == [
        "properties.reply_to",
        "properties.correlation_id",
        f"{USER}.name",
        f"{USER}.idCard",
        f"{USER}.mobile",
        "expiresAt",
        "context",
    ]


def test_a_thousand_unknown_fields_are_ten_problems() -> None:
    body = request() | {
        f"field{letter}{number}": 1 for letter in "abcdefghij" for number in range(100)
    }
    assert len(problems(read(body))) == 10


def test_a_context_too_deep_to_echo_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(150):
        deep = {"a": deep}
    reading = read(request(context=deep))
    if isinstance(reading, Accepted):  # what is accepted can be echoed
        assert reading.request.context is not None
        assert json.loads(reading.request.context) == deep
    for _ in range(150):
        deep = {"a": deep}
    assert isinstance(read(request(context=deep)), Refused)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_not_echoed_as_null(number: str) -> None:
    body = json.dumps(request(context={"a": "@"})).replace('"@"', number).encode()
    assert not isinstance(read(body), Accepted)


@pytest.mark.parametrize(
    "context", [{}, {"a": "x" * 2040}, {"a": 2**63}, {"a": -(2**63)}, {"a": "a backslash: \\u0000"}]
)
def test_a_context_of_ordinary_values_is_echoed_as_it_is(context: dict[str, Any]) -> None:
    echoed = accepted(request(context=context)).request.context
    assert echoed is not None
    assert json.loads(echoed) == context


# expiresAt.


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T00:00:00Z", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01t00:00:00z", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01 00:00:00Z", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T08:00:00+08:00", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T00:00:00.5Z", datetime(2026, 12, 1, microsecond=500_000, tzinfo=UTC)),
        ("2026-12-01T00:00:00.123456789Z", datetime(2026, 12, 1, microsecond=123_456, tzinfo=UTC)),
        ("1999-12-31T23:59:59-00:00", datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        # Every zone that a database may show times in has these; psycopg reads no year 10000.
        ("9999-12-31T23:59:59.999Z", datetime(9999, 12, 31, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 2, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_utc(text: str, moment: datetime) -> None:
    assert accepted(request(expiresAt=text)).request.expires_at == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-12-01",
        "2026-12-01T00:00:00",  # without a zone it is anybody's guess
        "2026-12-01T00:00Z",
        "20261201T000000Z",
        "2026-W49-2T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-12-01T25:00:00Z",
        "2026-12-01T00:00:60Z",
        "2026-12-01T00:00:00+99:99",
        "2026-12-01T00:00:00+0800",
        "0001-01-01T00:00:00+23:59",  # before the first year in UTC
        "9999-12-31T23:59:59-23:59",
        "２０２６-12-01T00:00:00Z",
        " 2026-12-01T00:00:00Z",
        "2026-12-01T00:00:00Z\n",
        "1796083200",
        1796083200,
        True,
        [],
        {},
    ],
)
def test_another_form_of_time_is_refused(text: object) -> None:
    assert list(problems(read(request(expiresAt=text)))) == ["expiresAt"]


# Which fields go with which check type.


@pytest.mark.parametrize("portrait", list(PortraitFields))
@pytest.mark.parametrize("field", list(PERSON))
@pytest.mark.parametrize("check_type", range(5))
def test_each_field_is_required_or_forbidden(
    check_type: int, field: str, portrait: PortraitFields
) -> None:
    needed = set(FIELDS_OF_TYPE[check_type])
    if check_type == 3 and portrait is PortraitFields.BANK_CARD:
        needed = {"name", "bankcard", "imgBase64"}
    reader = RequestReader(CheckPolicy(portrait_fields=portrait), 1_048_576)
    user = {name: PERSON[name] for name in needed}
    whole = {"checkType": check_type, "personalUser": user}
    assert set(accepted(request(personalSpec=whole), reader).request.person.fields) == needed
    if field in needed:
        user.pop(field)
        problem = f"is required for checkType {check_type}"
    else:
        user[field] = PERSON[field]
        problem = f"must not be sent for checkType {check_type}"
    reading = read(request(personalSpec=whole), reader)
    assert problems(reading) == {f"{USER}.{field}": problem}


@pytest.mark.parametrize(
    ("luhn", "warnings"), [(LuhnCheck.WARN, 1), (LuhnCheck.OFF, 0)], ids=["warn", "off"]
)
def test_a_wrong_luhn_digit_is_a_warning_where_the_setting_says_so(
    luhn: LuhnCheck, warnings: int
) -> None:
    reader = RequestReader(CheckPolicy(luhn=luhn), 1_048_576)
    body = request(personalSpec=spec(1, bankcard="6222021001116245703"))
    assert len(accepted(body, reader).warnings) == warnings


# Properties.


@pytest.mark.parametrize(
    ("name", "value", "usable"),
    [
        ("reply_to", "onboarding.replies", True),
        ("reply_to", "", True),  # as if it were not there
        ("reply_to", "two words", False),
        ("reply_to", "a\r\nb", False),
        ("reply_to", "a\x00b", False),
        ("reply_to", "回复", False),
        ("correlation_id", "c-1", True),
        ("correlation_id", "关联 1", True),
        ("correlation_id", "é" * 128, False),  # 256 bytes
        ("correlation_id", "a\nb", False),
        ("correlation_id", "\ud800", False),
    ],
)
def test_a_property_is_used_or_refused_by_name(name: str, value: str, *, usable: bool) -> None:
    properties: dict[str, Any] = {name: value}
    reading = read(**properties)
    if usable:
        assert isinstance(reading, Accepted)
        assert getattr(reading.envelope, name) == (value or None)
    else:
        assert list(problems(reading)) == [f"properties.{name}"]
        assert getattr(reading.envelope, name) is None


@pytest.mark.parametrize(
    "traceparent", ["", "x", "00-ABC", "00-" + "g" * 32 + "-" + "0" * 16 + "-01"]
)
def test_a_traceparent_that_is_none_is_dropped(traceparent: str) -> None:
    assert accepted(request(), traceparent=traceparent).envelope.traceparent is None


# The person's numbers where they must not stand.


@pytest.mark.parametrize(
    "body",
    [
        request(ID_CARD),
        request(f"id-{ID_CARD.lower()}-1"),
        request(MOBILE, personalSpec=spec(4)),
        request(BANKCARD, personalSpec=spec(1)),
        request(BANKCARD, personalSpec=spec(1, bankcard="6222 0210 0111 6245 702")),
        request(ID_CARD, unknown=1),  # refused for another reason
        request(MOBILE, personalSpec=spec(2, mobile=MOBILE)),  # a field that must not be sent
        # written with what people put between digits, and refused for another reason
        request(MOBILE, personalSpec=spec(2, mobile="138 0013 8000")),
        request(MOBILE, personalSpec=spec(4, mobile="+86 138 0013 8000"), unknown=1),
        request(BANKCARD, personalSpec=spec(1, bankcard="6222-0210-0111-6245-702"), unknown=1),
        # a number that is a number
        request("13800138000", personalSpec=spec(4, mobile=13800138000)),  # type: ignore[arg-type]
        # fields that do not stand where they belong
        request(MOBILE, personalSpec={"checkType": 4, "name": NAME, "mobile": MOBILE}),
        request(BANKCARD, bankcard=f" {BANKCARD}", personalSpec=None),
        request(MOBILE, personalSpec=[spec(4)]),
        # one that is not read as theirs, and somebody else's beside it
        request(ID_CARD, id_card=ID_CARD, guarantor={"idCard": "110101199003070038"},
                personalSpec={"checkType": 2, "personalUser": {"name": NAME}}),
    ],
)  # fmt: skip
def test_an_id_that_holds_a_number_of_the_person_is_not_usable(body: dict[str, Any]) -> None:
    """It would be a key in the database, in logs and in events."""
    reading = read(body, reply_to="replies", correlation_id="c-1")
    assert reason(reading) == "no_usable_id"
    assert reading.envelope == Envelope("replies", "c-1")  # the answer finds its way


@pytest.mark.parametrize("body_id", [ID_CARD, None])
def test_an_unusable_id_is_answered_without_the_properties_that_hold_the_number(
    body_id: str | None,
) -> None:
    properties: dict[str, Any] = dict.fromkeys(
        ("message_id", "reply_to", "correlation_id"), ID_CARD
    )
    reading = read(request(body_id), **properties)
    assert reason(reading) == "no_usable_id"
    assert reading.envelope == Envelope()


@pytest.mark.parametrize("unknown", [{}, {"unknown": 1}], ids=["valid", "invalid"])
@pytest.mark.parametrize("name", ["reply_to", "correlation_id"])
def test_a_property_that_holds_a_number_of_the_person_is_refused(
    name: str, unknown: dict[str, Any]
) -> None:
    properties: dict[str, Any] = {name: f"x-{ID_CARD}"}
    reading = read(request(**unknown), **properties)
    assert problems(reading)[f"properties.{name}"] == "must not contain the person's data"
    assert reading.envelope == Envelope()


@pytest.mark.parametrize(
    "field",
    [ID_CARD, MOBILE, BANKCARD, "张三", f"x{ID_CARD}", "a b", "", "\x00", "x" * 65],
)
def test_the_name_of_an_unknown_field_is_shown_only_if_it_is_one(field: str) -> None:
    assert list(problems(read(request() | {field: 1}))) == ["(unprintable name)"]
