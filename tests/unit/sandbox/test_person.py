"""The body against the document's table."""

from itertools import combinations

import orjson
import pytest

from tests.unit.sandbox.caller import Caller, encode
from worker.sandbox.person import read_person
from worker.sandbox.refusal import Refused

VALUES = {
    "name": "张三",
    "idCard": "11010519491231002X",
    "bankcard": "6222020200112233445",
    "mobile": "13333333333",
    "imgBase64": "/9j/4AAQ",
}
ROWS = {
    0: [{"name", "idCard", "bankcard", "mobile"}],
    1: [{"name", "idCard", "bankcard"}],
    2: [{"name", "idCard"}],
    3: [{"name", "idCard", "imgBase64"}, {"name", "bankcard", "imgBase64"}],
    4: [{"name", "idCard", "mobile"}],
}


def spec(check_type: object, fields: set[str], **changes: object) -> bytes:
    user = {name: VALUES[name] for name in fields} | changes
    return encode({"personalSpec": {"checkType": check_type, "personalUser": user}})


@pytest.mark.parametrize("check_type", ROWS)
def test_exactly_the_fields_of_the_row_are_accepted(check_type: int) -> None:
    for size in range(len(VALUES) + 1):
        for fields in map(set, combinations(VALUES, size)):
            if fields in ROWS[check_type]:
                assert read_person(spec(check_type, fields)).name == "张三"
            else:
                with pytest.raises(Refused) as caught:
                    read_person(spec(check_type, fields))
                assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        encode({"personalSpec": None}),
        encode({"personalSpec": []}),
        encode({"personalSpec": {"checkType": 2}}),
        encode({"personalSpec": {"checkType": 2, "personalUser": []}}),
        spec(2, {"name", "idCard"})[:-1] + b',"regionId":"cn-north-1"}',
        # Check types that are not 0 to 4.
        spec(5, {"name", "idCard"}),
        spec(-1, {"name", "idCard"}),
        spec("2", {"name", "idCard"}),
        spec(2.0, {"name", "idCard"}),
        spec(True, {"name", "idCard", "bankcard"}),
        # JD's own SDK sends nulls for what is not set.
        spec(2, {"name", "idCard"}, mobile=None),
        spec(2, {"name"}, idCard=None),
        spec(2, {"name"}, idCard=""),
        spec(2, {"name"}, idCard=110105),
        spec(2, {"name"}, bankCard="6222020200112233445"),
    ],
)
def test_any_other_body_is_an_invalid_argument(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_person(body)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_a_refusal_over_the_wire_quotes_nothing_of_the_person(caller: Caller) -> None:
    answer = caller.post(spec(2, {"name", "idCard", "mobile"}))
    assert answer.error == (400, "INVALID_ARGUMENT")
    text = answer.body.decode()
    assert not any(value in text for value in VALUES.values())


def test_a_person_has_no_repr() -> None:
    person = read_person(spec(0, {"name", "idCard", "bankcard", "mobile"}))
    assert not any(value in repr(person) for value in VALUES.values())


def test_a_portrait_with_a_bank_card_is_answered_and_counted_by_the_card(caller: Caller) -> None:
    answer = caller.post(spec(3, {"name", "bankcard", "imgBase64"}))
    assert answer.info["success"] is True
    assert caller.sandbox.charges().by_behaviour == {"match": 1}
    assert VALUES["bankcard"].encode() not in orjson.dumps(caller.sandbox.charges())
