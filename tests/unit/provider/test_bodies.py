"""What is sent, byte for byte, and what is kept of an answer."""

import hashlib
from base64 import b64encode

import orjson
import pytest

from worker.core.outcome import AuthInfo, Charged
from worker.core.request import (
    FIELDS_BY_TYPE,
    CheckType,
    Person,
    PersonField,
    VerificationRequest,
)
from worker.provider.bodies import Reply, decode, encode

VALUES = {
    PersonField.NAME: "张三",
    PersonField.ID_CARD: "11010519491231002X",
    PersonField.BANKCARD: "6222020200112233445",
    PersonField.MOBILE: "13800138000",
    PersonField.PORTRAIT: "/9j/" + "A" * 8000,
}
PERSON = Person({field: VALUES[field] for field in FIELDS_BY_TYPE[CheckType(2)]})
EVERYTHING = Person(VALUES)


def decoded(body: object) -> Reply:
    reply = decode(orjson.dumps(body), PERSON)
    assert reply is not None
    return reply


def kept(result: object) -> AuthInfo:
    info = decoded({"result": result}).auth_info
    assert info is not None
    return info


@pytest.mark.parametrize("check_type", list(CheckType))
def test_exactly_the_fields_of_the_check_type_are_sent(check_type: CheckType) -> None:
    person = Person({field: VALUES[field] for field in FIELDS_BY_TYPE[check_type]})
    request = VerificationRequest("r", check_type, person, "s", None, '{"secret":"context"}')
    sent = orjson.loads(encode(request))
    assert sent == {
        "personalSpec": {
            "checkType": int(check_type),
            "personalUser": {str(field): VALUES[field] for field in FIELDS_BY_TYPE[check_type]},
        }
    }


@pytest.mark.parametrize("nested", [True, False])
def test_nested_and_flat_answers_say_the_same(nested: bool) -> None:
    info = {"success": True, "hasException": False, "code": "ok", "message": "通过"}
    result = {"authInfo": info} if nested else info
    reply = decoded({"requestId": "a.b:c-1", "result": result})
    assert reply.request_id == "a.b:c-1"
    assert reply.auth_info == AuthInfo(True, False, "ok", "通过", None)


@pytest.mark.parametrize(
    ("detail", "charged"),
    [
        ('{"chargeFlag": "1"}', Charged.YES),
        ('{"chargeFlag": 1}', Charged.YES),
        ('{"chargeFlag": "0"}', Charged.NO),
        ({"chargeFlag": 0}, Charged.NO),  # once it was an object
        ({"chargeFlag": "2"}, None),
        ({"chargeFlag": True}, None),  # undocumented: nobody knows what it means
        ({"chargeFlag": None}, None),
        ("认证通过", None),
        ('{"chargeFlag": "1"', None),
        ("[1]", None),
        (17, None),
        (None, None),
    ],
)
def test_the_charge_flag_is_found_in_every_form_of_detail(
    detail: object, charged: Charged | None
) -> None:
    assert decoded({"result": {"success": True, "detail": detail}}).charged is charged


@pytest.mark.parametrize("status", ["lower", "WITH SPACE", "X" * 65, "", 403, None, ["FAIL"]])
def test_a_status_of_another_form_is_not_kept(status: object) -> None:
    assert decoded({"error": {"status": status}}).status is None


def test_an_answer_that_echoes_the_person_is_scrubbed_in_every_text() -> None:
    echo = " ".join(VALUES.values()).lower()
    info = {"success": True, "code": VALUES[PersonField.NAME], "message": echo, "detail": VALUES}
    reply = decode(orjson.dumps({"result": info}, option=orjson.OPT_NON_STR_KEYS), EVERYTHING)
    for value in VALUES.values():
        assert value not in repr(reply)
        assert value.lower() not in repr(reply)


@pytest.mark.parametrize(
    "word",
    [
        *("", "a b", "a\nb", "张", "a" * 129, 7, None),
        "11010519491231002X",
        "11010519491231002",  # without its check digit
        "ID_19491231_X",  # a date of birth
        "REQ:11010519491231002X:1",
        hashlib.new("md5", b"11010519491231002X").hexdigest(),  # noqa: S324
        hashlib.new("sha256", b"11010519491231002x").hexdigest().upper(),
        b64encode(b"11010519491231002X").decode().rstrip("="),
    ],
)
def test_a_word_of_another_form_or_with_the_person_in_it_is_not_kept(word: object) -> None:
    reply = decoded({"requestId": word, "error": {"status": word}})
    assert (reply.request_id, reply.status) == (None, None)


def test_an_echo_in_escapes_is_scrubbed_however_often_it_was_escaped() -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in "张三11010519491231002X")
    twice = escaped.replace("\\", "\\\\")
    detail = f'{{"name":"{escaped}","more":"{twice}"}}'
    expected = '{"name":"张*1****************X","more":"张*1****************X"}'
    assert kept({"success": True, "detail": detail}).detail == expected


def test_texts_are_bounded_and_free_of_control_characters() -> None:
    info = kept({"success": True, "code": "c" * 999, "message": "a\x00\n" + "m" * 9999})
    assert (info.code, info.message) == ("c" * 64, "a  " + "m" * 497)


def test_a_detail_nested_beyond_measure_does_no_harm() -> None:
    deep = orjson.Fragment(b"[" * 600 + b"]" * 600)
    assert kept({"success": True, "detail": deep}).detail == "<unreadable>"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"nul", b"\xff", b'{"a":'])
def test_what_is_no_json_object_says_nothing(body: bytes) -> None:
    assert decode(body, PERSON) is None
