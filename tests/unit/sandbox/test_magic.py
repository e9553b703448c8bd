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
from worker.sandbox.behaviours import AtFirst, Manner, Occasion
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


@pytest.mark.parametrize("name", ACTS)
def test_an_act_is_what_people_are_told_of_it(name: str) -> None:
    act, told = ACTS[name], BY_NAME[name].description
    person = PersonalUser({"name": "张三", "idCard": ANYONE})
    body = act.body(Occasion("r", "o", person)).decode()
    flag = re.search(r"chargeFlag\W+(\d)", body)
    assert flag is None or act.charged == (flag[1] == "1")
    assert act.charged or not re.search("(?<!not )charged", told)
    if '"error"' in body:
        assert re.findall("[A-Z_]{4,}", told)[0] == json.loads(body)["error"]["status"]
    assert str(act.status) == (re.findall(r"^\d{3}", told) or ["200"])[0]
    assert ("Retry-After: 1" in told) == (("Retry-After", "1") in act.headers)


# Name, charged, and what of authInfo is another than a match's.
ANSWERS: list[tuple[str, bool, dict[str, object]]] = [
    ("match", True, {}),
    ("mismatch", True, {"success": False, "message": "认证不通过"}),
    ("no_record", False, {"success": False, "message": "库中无此号"}),
    ("exception_uncharged", False, FAILED),
    ("exception_charged", True, FAILED),
    ("contradictory", True, {"hasException": True}),
    ("success_missing", True, {"success": None}),
    ("success_text", True, {"success": "true"}),
    ("forbidden_answer", True, {"success": False, "message": "认证不通过"}),
    ("slow", True, {}),
    ("dripping", True, {}),
    ("dripping_head", True, {}),
]


@pytest.mark.parametrize(("name", "charged", "other"), ANSWERS)
def test_an_answer_has_the_providers_form(
    caller: Caller, name: str, charged: bool, other: dict[str, object]
) -> None:
    answer = caller.call(number(name))
    info = MATCH | other
    if info["success"] is None:
        del info["success"]
    assert (answer.status, without_detail(answer)) == (ACTS[name].status, info)
    detail = json.loads(answer.info["detail"])
    assert detail["chargeFlag"] == ("1" if charged else "0")
    assert detail["message"] == info["message"]
    assert detail["orderNumber"]
    assert answer.json["requestId"]
    counts = caller.counts()
    assert (counts.charges, counts.by_behaviour) == (int(charged), {name: 1})


@pytest.mark.parametrize(
    ("name", "start"),
    [("rate_limited", b"{"), ("unavailable_page", b"<html>"), ("not_an_object", b"[]"),
     ("redirect", b"")],
)  # fmt: skip
def test_what_is_no_answer_leaves_as_the_act_says_and_is_free(
    caller: Caller, name: str, start: bytes
) -> None:
    answer, act = caller.call(number(name)), ACTS[name]
    assert (answer.status, answer.headers["Content-Type"]) == (act.status, act.content_type)
    assert set(act.headers) <= set(answer.headers.items())
    assert answer.body.startswith(start)
    assert caller.counts().charges == 0


def test_a_detail_may_be_an_object_or_plain_words(caller: Caller) -> None:
    assert caller.call(number("detail_object")).info["detail"]["chargeFlag"] == "1"
    assert caller.call(number("detail_text")).info["detail"] == "认证通过"
    assert caller.call(number("exception_unknown")).info["detail"] == "数据源异常"


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
