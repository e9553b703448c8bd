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
from functools import partial
from operator import itemgetter

from worker.sandbox.behaviours import Act, AtFirst, Behaviour, Manner, answer, error, fixed, page


@dataclass(frozen=True, slots=True)
class Magic:
    """One line of the table."""

    id_card: str
    name: str
    description: str
    behaviour: Behaviour


_MATCH = answer()
_mismatch = partial(answer, success=False, message="认证不通过")
_exception = partial(answer, success=False, has_exception=True, message="数据源异常")
_RATE_LIMIT = (429, "RATE_LIMIT_EXCEEDED", "请求过频繁")
_RATE_LIMITED = error(*_RATE_LIMIT, headers=(("Retry-After", "1"),))

# fmt: off
TABLE: tuple[Magic, ...] = (
    # Answers.
    Magic("11010519491231002X", "match", "the person matches; charged", _MATCH),
    Magic("119999194912310013", "mismatch", "the person does not match; charged", _mismatch()),
    Magic("119999194912310021", "no_record", "success false, message 库中无此号; not charged",
          answer(success=False, message="库中无此号", charged=False)),
    Magic("11999919491231003X", "exception_uncharged", "hasException, chargeFlag 0",
          _exception(charged=False)),
    Magic("119999194912310048", "exception_charged", "hasException, chargeFlag 1", _exception()),
    Magic("119999194912310056", "exception_unknown",
          "hasException, a detail without chargeFlag; not charged",
          _exception(charged=False, detail=itemgetter("message"))),
    Magic("119999194912310064", "contradictory", "success and hasException both true; charged",
          answer(has_exception=True)),
    Magic("119999194912310072", "success_missing", "no success field; charged",
          answer(success=None)),
    Magic("119999194912310080", "success_text", 'success is the string "true"; charged',
          answer(success="true")),
    Magic("119999194912310099", "flat", "a match without authInfo (result.success); charged",
          answer(flat=True)),
    Magic("119999194912310101", "detail_json",
          "a match; detail is a string of JSON with chargeFlag and orderNumber; charged", _MATCH),
    Magic("11999919491231011X", "detail_object", "a match; detail is an object; charged",
          answer(detail=dict)),
    Magic("119999194912310128", "detail_text", "a match; detail is plain words; charged",
          answer(detail=itemgetter("message"))),
    Magic("119999194912310136", "echo",
          "a match; message and detail repeat the person's data; charged", answer(echo=True)),
    Magic("119999194912310144", "forbidden_answer",
          "403 whose body holds an authInfo: a mismatch; charged", _mismatch(status=403)),
    # Errors. None is charged.
    Magic("119999194912310152", "invalid_argument", "400 INVALID_ARGUMENT",
          error(400, "INVALID_ARGUMENT", "参数存在错误")),
    Magic("119999194912310160", "access_error", "401 ACCESS_ERROR",
          error(401, "ACCESS_ERROR", "认证失败")),
    Magic("119999194912310179", "fail", "403 FAIL", error(403, "FAIL", "FAIL")),
    Magic("119999194912310451", "nonce_conflict", "403 APIGW_NONCE_CONFLICT, always",
          error(403, "APIGW_NONCE_CONFLICT", "重复访问")),
    Magic("119999194912310187", "rate_limited", "429 RATE_LIMIT_EXCEEDED, Retry-After: 1, always",
          _RATE_LIMITED),
    Magic("119999194912310195", "rate_limited_silent",
          "429 RATE_LIMIT_EXCEEDED without Retry-After, always", error(*_RATE_LIMIT)),
    Magic("119999194912310208", "quota_exceeded", "429 QUOTA_EXCEEDED",
          error(429, "QUOTA_EXCEEDED", "配额不足")),
    Magic("119999194912310216", "internal", "500 INTERNAL", error(500, "INTERNAL", "内部错误")),
    Magic("119999194912310224", "unavailable", "503 UNAVAILABLE, always",
          error(503, "UNAVAILABLE", "服务不可用")),
    Magic("11999919491231046X", "unavailable_page", "503 with a gateway's HTML body, always",
          page("503 Service Temporarily Unavailable", 503)),
    Magic("119999194912310232", "redirect", "307 to another path, which a client must not follow",
          Act(status=307, headers=(("Location", "/elsewhere"),))),
    # Bodies that are no answer.
    Magic("119999194912310240", "html", "200 with an HTML body; not charged", page("Welcome", 200)),
    Magic("119999194912310259", "empty", "200 without a body; not charged", Act()),
    Magic("119999194912310267", "not_an_object", "200 whose JSON is an array; not charged",
          fixed(b"[]")),
    # The network.
    Magic("119999194912310275", "hang_before_charge",
          "no answer until the client gives up; not charged", Act(manner=Manner.NEVER)),
    Magic("119999194912310283", "hang_after_charge",
          "charged, then no answer until the client gives up",
          Act(charged=True, manner=Manner.NEVER)),
    Magic("119999194912310291", "reset_before_charge", "connection reset; not charged",
          Act(manner=Manner.RESET)),
    Magic("119999194912310304", "reset_after_charge", "charged, then connection reset",
          Act(charged=True, manner=Manner.RESET)),
    Magic("119999194912310312", "truncated", "a match whose body ends half way; charged",
          answer(manner=Manner.TRUNCATED)),
    Magic("119999194912310320", "slow", "a match after 2 s; charged at once",
          answer(manner=Manner.SLOW)),
    Magic("119999194912310339", "dripping", "a match whose body comes a byte every 0.2 s; charged",
          answer(manner=Manner.DRIPPED_BODY)),
    Magic("119999194912310347", "dripping_head",
          "a match that comes a byte every 0.2 s, status line first; charged",
          answer(manner=Manner.DRIPPED)),
    Magic("119999194912310355", "huge", "a match padded to 100 MB, chunked; charged",
          answer(manner=Manner.HUGE)),
    # What passes: one thing at first, for each ID number and name, then a charged match.
    Magic("119999194912310363", "recovers_after_1", "503 once, then a match",
          AtFirst(1, "unavailable")),
    Magic("119999194912310371", "recovers_after_2", "503 twice, then a match",
          AtFirst(2, "unavailable")),
    Magic("11999919491231038X", "nonce_conflict_once",
          "403 APIGW_NONCE_CONFLICT once, then a match", AtFirst(1, "nonce_conflict")),
    Magic("119999194912310398", "rate_limited_once", "429 with Retry-After: 1 once, then a match",
          AtFirst(1, "rate_limited")),
    Magic("119999194912310400", "exception_once",
          "hasException with chargeFlag 0 once, then a match", AtFirst(1, "exception_uncharged")),
    Magic("119999194912310419", "access_error_once", "401 ACCESS_ERROR once, then a match",
          AtFirst(1, "access_error")),
    Magic("119999194912310427", "hang_once",
          "in doubt once: charged without an answer, then a match (charged again)",
          AtFirst(1, "hang_after_charge")),
    Magic("119999194912310435", "reset_once",
          "in doubt once: charged and reset, then a match (charged again)",
          AtFirst(1, "reset_after_charge")),
    Magic("119999194912310443", "reset_once_uncharged",
          "in doubt once: reset without a charge, then a match", AtFirst(1, "reset_before_charge")),
)
# fmt: on

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
