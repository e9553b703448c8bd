"""The magic ID numbers: what the sandbox does for whom. Data only.

Every number passes the worker's checks of an ID card (province 11, a real date, MOD 11-2 check
digit). County code 119999 belongs to no county, so no person has one of these numbers, except the
first, which China's standard GB 11643 prints as its example. A number that is not listed here
behaves as `SandboxSettings.unlisted` says: a match, unless told otherwise. A scenario makes calls
act by a row's name, whatever their number (`scenario`).

Charges follow what sibling vendors do (worker/provider/README.md): match and mismatch are charged,
no record and errors are not. Where an answer carries a chargeFlag, the count agrees with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.sandbox.acts import Act, AtFirst, Behaviour, Hang, Manner, Reset, Respond
from worker.sandbox.answers import (
    HTML,
    NO_RECORD,
    NOT_MATCHED,
    SOURCE_FAILED,
    answer,
    constant,
    echo,
    object_detail,
    page,
    refusal,
    text_detail,
)


@dataclass(frozen=True, slots=True)
class Magic:
    """One line of the table."""

    id_card: str
    name: str
    description: str
    behaviour: Behaviour


_MATCH = Respond(answer(), charged=True)
_RATE_LIMIT = refusal(429, "RATE_LIMIT_EXCEEDED", "请求过频繁")
_RATE_LIMITED = Respond(_RATE_LIMIT, status=429, headers=(("Retry-After", "1"),))

TABLE: tuple[Magic, ...] = (
    # Answers.
    Magic("11010519491231002X", "match", "the person matches; charged", _MATCH),
    Magic(
        "119999194912310013",
        "mismatch",
        "the person does not match; charged",
        Respond(answer(success=False, message=NOT_MATCHED), charged=True),
    ),
    Magic(
        "119999194912310021",
        "no_record",
        "success false, message 库中无此号; not charged",
        Respond(answer(success=False, message=NO_RECORD, charge_flag="0")),
    ),
    Magic(
        "11999919491231003X",
        "exception_uncharged",
        "hasException, chargeFlag 0",
        Respond(answer(success=False, has_exception=True, message=SOURCE_FAILED, charge_flag="0")),
    ),
    Magic(
        "119999194912310048",
        "exception_charged",
        "hasException, chargeFlag 1",
        Respond(answer(success=False, has_exception=True, message=SOURCE_FAILED), charged=True),
    ),
    Magic(
        "119999194912310056",
        "exception_unknown",
        "hasException, a detail without chargeFlag; not charged",
        Respond(
            answer(success=False, has_exception=True, message=SOURCE_FAILED, detail=text_detail)
        ),
    ),
    Magic(
        "119999194912310064",
        "contradictory",
        "success and hasException both true; charged",
        Respond(answer(has_exception=True), charged=True),
    ),
    Magic(
        "119999194912310072",
        "success_missing",
        "no success field; charged",
        Respond(answer(success=None), charged=True),
    ),
    Magic(
        "119999194912310080",
        "success_text",
        'success is the string "true"; charged',
        Respond(answer(success="true"), charged=True),
    ),
    Magic(
        "119999194912310099",
        "flat",
        "a match without authInfo (result.success); charged",
        Respond(answer(flat=True), charged=True),
    ),
    Magic(
        "119999194912310101",
        "detail_json",
        "a match; detail is a string of JSON with chargeFlag and orderNumber; charged",
        _MATCH,
    ),
    Magic(
        "11999919491231011X",
        "detail_object",
        "a match; detail is an object; charged",
        Respond(answer(detail=object_detail), charged=True),
    ),
    Magic(
        "119999194912310128",
        "detail_text",
        "a match; detail is plain words; charged",
        Respond(answer(detail=text_detail), charged=True),
    ),
    Magic(
        "119999194912310136",
        "echo",
        "a match; message and detail repeat the person's data; charged",
        Respond(echo, charged=True),
    ),
    Magic(
        "119999194912310144",
        "forbidden_answer",
        "403 whose body holds an authInfo: a mismatch; charged",
        Respond(answer(success=False, message=NOT_MATCHED), charged=True, status=403),
    ),
    # Errors. None is charged.
    Magic(
        "119999194912310152",
        "invalid_argument",
        "400 INVALID_ARGUMENT",
        Respond(refusal(400, "INVALID_ARGUMENT", "参数存在错误"), status=400),
    ),
    Magic(
        "119999194912310160",
        "access_error",
        "401 ACCESS_ERROR",
        Respond(refusal(401, "ACCESS_ERROR", "认证失败"), status=401),
    ),
    Magic(
        "119999194912310179", "fail", "403 FAIL", Respond(refusal(403, "FAIL", "FAIL"), status=403)
    ),
    Magic(
        "119999194912310451",
        "nonce_conflict",
        "403 APIGW_NONCE_CONFLICT, always",
        Respond(refusal(403, "APIGW_NONCE_CONFLICT", "重复访问"), status=403),
    ),
    Magic(
        "119999194912310187",
        "rate_limited",
        "429 RATE_LIMIT_EXCEEDED, Retry-After: 1, always",
        _RATE_LIMITED,
    ),
    Magic(
        "119999194912310195",
        "rate_limited_silent",
        "429 RATE_LIMIT_EXCEEDED without Retry-After, always",
        Respond(_RATE_LIMIT, status=429),
    ),
    Magic(
        "119999194912310208",
        "quota_exceeded",
        "429 QUOTA_EXCEEDED",
        Respond(refusal(429, "QUOTA_EXCEEDED", "配额不足"), status=429),
    ),
    Magic(
        "119999194912310216",
        "internal",
        "500 INTERNAL",
        Respond(refusal(500, "INTERNAL", "内部错误"), status=500),
    ),
    Magic(
        "119999194912310224",
        "unavailable",
        "503 with an HTML body, always",
        Respond(page("503 Service Temporarily Unavailable"), status=503, content_type=HTML),
    ),
    Magic(
        "119999194912310232",
        "redirect",
        "307 to another path, which a client must not follow",
        Respond(constant(b""), status=307, headers=(("Location", "/elsewhere"),)),
    ),
    # Bodies that are no answer.
    Magic(
        "119999194912310240",
        "html",
        "200 with an HTML body; not charged",
        Respond(page("Welcome"), content_type=HTML),
    ),
    Magic("119999194912310259", "empty", "200 without a body; not charged", Respond(constant(b""))),
    Magic(
        "119999194912310267",
        "not_an_object",
        "200 whose JSON is an array; not charged",
        Respond(constant(b"[]")),
    ),
    # The network.
    Magic(
        "119999194912310275",
        "hang_before_charge",
        "no answer until the client gives up; not charged",
        Hang(charged=False),
    ),
    Magic(
        "119999194912310283",
        "hang_after_charge",
        "charged, then no answer until the client gives up",
        Hang(charged=True),
    ),
    Magic(
        "119999194912310291",
        "reset_before_charge",
        "connection reset; not charged",
        Reset(charged=False),
    ),
    Magic(
        "119999194912310304",
        "reset_after_charge",
        "charged, then connection reset",
        Reset(charged=True),
    ),
    Magic(
        "119999194912310312",
        "truncated",
        "a match whose body ends half way; charged",
        Respond(answer(), charged=True, manner=Manner.TRUNCATED),
    ),
    Magic(
        "119999194912310320",
        "slow",
        "a match after 2 s; charged at once",
        Respond(answer(), charged=True, manner=Manner.SLOW),
    ),
    Magic(
        "119999194912310339",
        "dripping",
        "a match whose body comes a byte every 0.2 s; charged",
        Respond(answer(), charged=True, manner=Manner.DRIPPED_BODY),
    ),
    Magic(
        "119999194912310347",
        "dripping_head",
        "a match that comes a byte every 0.2 s, status line first; charged",
        Respond(answer(), charged=True, manner=Manner.DRIPPED),
    ),
    Magic(
        "119999194912310355",
        "huge",
        "a match padded to 100 MB, chunked; charged",
        Respond(answer(), charged=True, manner=Manner.HUGE),
    ),
    # What passes: one thing at first, for each ID number and name, then a charged match.
    Magic(
        "119999194912310363",
        "recovers_after_1",
        "503 once, then a match",
        AtFirst(1, "unavailable", "match"),
    ),
    Magic(
        "119999194912310371",
        "recovers_after_2",
        "503 twice, then a match",
        AtFirst(2, "unavailable", "match"),
    ),
    Magic(
        "11999919491231038X",
        "nonce_conflict_once",
        "403 APIGW_NONCE_CONFLICT once, then a match",
        AtFirst(1, "nonce_conflict", "match"),
    ),
    Magic(
        "119999194912310398",
        "rate_limited_once",
        "429 with Retry-After: 1 once, then a match",
        AtFirst(1, "rate_limited", "match"),
    ),
    Magic(
        "119999194912310400",
        "exception_once",
        "hasException with chargeFlag 0 once, then a match",
        AtFirst(1, "exception_uncharged", "match"),
    ),
    Magic(
        "119999194912310419",
        "access_error_once",
        "401 ACCESS_ERROR once, then a match",
        AtFirst(1, "access_error", "match"),
    ),
    Magic(
        "119999194912310427",
        "hang_once",
        "in doubt once: charged without an answer, then a match (charged again)",
        AtFirst(1, "hang_after_charge", "match"),
    ),
    Magic(
        "119999194912310435",
        "reset_once",
        "in doubt once: charged and reset, then a match (charged again)",
        AtFirst(1, "reset_after_charge", "match"),
    ),
    Magic(
        "119999194912310443",
        "reset_once_uncharged",
        "in doubt once: reset without a charge, then a match",
        AtFirst(1, "reset_before_charge", "match"),
    ),
)

BY_ID_CARD: Mapping[str, Magic] = {magic.id_card: magic for magic in TABLE}
BY_NAME: Mapping[str, Magic] = {magic.name: magic for magic in TABLE}
#: What is done at once, without a look at a person's earlier calls.
ACTS: Mapping[str, Act] = {
    magic.name: magic.behaviour for magic in TABLE if not isinstance(magic.behaviour, AtFirst)
}

#: What a scenario's `calls_per_minute` refuses: like `rate_limited`, counted under its own name.
THROTTLED = Magic("", "throttled", "beyond the scenario's calls_per_minute", _RATE_LIMITED)


def magic_table() -> list[tuple[str, str, str]]:
    """Return the table for people: ID number, name of the behaviour, description."""
    return [(magic.id_card, magic.name, magic.description) for magic in TABLE]
