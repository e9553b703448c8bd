"""Every magic ID number through a real socket."""

import http.client
import json
import re
from datetime import date
from typing import Any

import pytest

from tests.unit.sandbox.caller import ANYONE, Answer, Caller, RunningSandbox
from worker.core.checks import IdCardCheck, check_id_card
from worker.sandbox.admission import PersonalUser
from worker.sandbox.behaviours import Act, AtFirst, Manner, Occasion
from worker.sandbox.magic import ACTS, BY_NAME, TABLE, Magic
from worker.sandbox.settings import SandboxSettings

MATCH: dict[str, object] = {
    "success": True,
    "hasException": False,
    "code": "ok",
    "message": "认证通过",
}
FAILED = {"success": False, "hasException": True, "message": "数据源异常"}


def number(name: str) -> str:
    return BY_NAME[name].id_card


def without_detail(answer: Answer) -> dict[str, Any]:
    return {key: value for key, value in answer.info.items() if key != "detail"}


@pytest.mark.parametrize("magic", TABLE, ids=lambda magic: magic.name)
def test_every_magic_number_passes_the_workers_checks(magic: Magic) -> None:
    assert check_id_card(magic.id_card, IdCardCheck.STRICT, date(2026, 3, 1)) == magic.id_card


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_the_count_agrees_with_the_charge_flag(act: Act) -> None:
    person = PersonalUser({"name": "张三", "idCard": ANYONE})
    flag = re.search(rb"chargeFlag\W+(\d)", act.body(Occasion("r", "o", person)))
    if flag is not None:
        assert act.charged == (flag[1] == b"1")


# Name, status, charged, and what of authInfo is another than a match's.
ANSWERS: list[tuple[str, int, bool, dict[str, object]]] = [
    ("match", 200, True, {}),
    ("mismatch", 200, True, {"success": False, "message": "认证不通过"}),
    ("no_record", 200, False, {"success": False, "message": "库中无此号"}),
    ("exception_uncharged", 200, False, FAILED),
    ("exception_charged", 200, True, FAILED),
    ("contradictory", 200, True, {"hasException": True}),
    ("success_missing", 200, True, {"success": None}),
    ("success_text", 200, True, {"success": "true"}),
    ("detail_json", 200, True, {}),
    ("forbidden_answer", 403, True, {"success": False, "message": "认证不通过"}),
    ("slow", 200, True, {}),
    ("dripping", 200, True, {}),
    ("dripping_head", 200, True, {}),
]


@pytest.mark.parametrize(("name", "status", "charged", "other"), ANSWERS)
def test_an_answer_has_the_providers_form(
    caller: Caller, name: str, status: int, charged: bool, other: dict[str, object]
) -> None:
    answer = caller.call(number(name))
    info = MATCH | other
    if info["success"] is None:
        del info["success"]
    assert (answer.status, without_detail(answer)) == (status, info)
    detail = json.loads(answer.info["detail"])
    assert detail["chargeFlag"] == ("1" if charged else "0")
    assert detail["message"] == info["message"]
    assert detail["orderNumber"]
    assert answer.json["requestId"]
    counts = caller.counts()
    assert (counts.charges, counts.by_behaviour) == (int(charged), {name: 1})


@pytest.mark.parametrize(
    ("name", "status", "words", "retry_after"),
    [
        ("invalid_argument", 400, "INVALID_ARGUMENT", None),
        ("access_error", 401, "ACCESS_ERROR", None),
        ("fail", 403, "FAIL", None),
        ("nonce_conflict", 403, "APIGW_NONCE_CONFLICT", None),
        ("rate_limited", 429, "RATE_LIMIT_EXCEEDED", "1"),
        ("rate_limited_silent", 429, "RATE_LIMIT_EXCEEDED", None),
        ("quota_exceeded", 429, "QUOTA_EXCEEDED", None),
        ("internal", 500, "INTERNAL", None),
        ("unavailable", 503, "UNAVAILABLE", None),
    ],
)
def test_an_error_has_the_providers_form_and_is_free(
    caller: Caller, name: str, status: int, words: str, retry_after: str | None
) -> None:
    answer = caller.call(number(name))
    assert answer.error == (status, words)
    assert answer.headers["Retry-After"] == retry_after
    assert caller.counts().charges == 0


@pytest.mark.parametrize(
    ("name", "status", "content_type", "body"),
    [
        ("unavailable_page", 503, "text/html; charset=utf-8", rb"<html>[^\0]*"),
        ("html", 200, "text/html; charset=utf-8", rb"<html>[^\0]*"),
        ("empty", 200, "application/json", b""),
        ("not_an_object", 200, "application/json", rb"\[\]"),
        ("redirect", 307, "application/json", b""),
    ],
)
def test_some_bodies_are_no_answer(
    caller: Caller, name: str, status: int, content_type: str, body: bytes
) -> None:
    answer = caller.call(number(name))
    assert (answer.status, answer.headers["Content-Type"]) == (status, content_type)
    assert re.fullmatch(body, answer.body)
    assert caller.counts().charges == 0


def test_a_detail_may_be_an_object_or_plain_words(caller: Caller) -> None:
    assert caller.call(number("detail_object")).info["detail"]["chargeFlag"] == "1"
    assert caller.call(number("detail_text")).info["detail"] == "认证通过"
    assert caller.call(number("exception_unknown")).info["detail"] == "数据源异常"
    assert caller.counts().charges == 2


def test_an_echo_repeats_the_person_in_message_and_detail(caller: Caller) -> None:
    info = caller.call(number("echo"), name="李四").info
    for text in (info["message"], info["detail"]):
        assert "李四" in text
        assert number("echo") in text


def test_a_hang_is_bounded() -> None:
    given_up = (http.client.RemoteDisconnected, ConnectionResetError)
    with RunningSandbox(SandboxSettings(hang_seconds=0.01)) as sandbox, pytest.raises(given_up):
        Caller(sandbox).call(number("hang_before_charge"))


def test_a_huge_answer_is_json_of_the_length_set(caller: Caller) -> None:
    answer = caller.call(number("huge"))
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert len(answer.json["padding"]) == 3_000_000
    assert answer.info["success"] is True


def test_first_calls_are_counted_for_each_name_and_anew_after_a_reset(caller: Caller) -> None:
    id_card = number("recovers_after_1")
    assert [caller.call(id_card, name).status for name in ("张三", "李四")] == [503, 503]
    assert [caller.call(id_card, name).status for name in ("张三", "李四")] == [200, 200]
    caller.reset()
    assert caller.call(id_card).status == 503


def test_an_unlisted_number_behaves_as_the_settings_say(caller: Caller) -> None:
    assert without_detail(caller.call(ANYONE)) == MATCH
    with RunningSandbox(SandboxSettings(unlisted="no_record")) as sandbox:
        assert Caller(sandbox).call(ANYONE).info["message"] == "库中无此号"
        assert without_detail(Caller(sandbox).call(number("match"))) == MATCH


def test_every_manner_of_answering_and_what_happens_at_first_is_in_the_table() -> None:
    assert {act.manner for act in ACTS.values()} == set(Manner)
    passing = [magic.behaviour for magic in TABLE if isinstance(magic.behaviour, AtFirst)]
    assert {each.act for each in passing} < ACTS.keys()
