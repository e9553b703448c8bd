"""Answers as the provider gives them, as it never should, and what they say of the verdict."""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import strategies as st

from tests.fakes.messages import BANKCARD, ID_CARD, MOBILE, NAME
from tests.fakes.messages import PERSON as MADE_UP
from tests.fuzz.trees import Pairs, Raw, changed, children, tree
from worker.core.outcome import CallClass, CallReport, Charged, Outcome
from worker.core.request import CheckType, Person, PersonField, VerificationRequest

PERSON = Person({field: MADE_UP[field] for field in PersonField if field != PersonField.PORTRAIT})
ASKED = VerificationRequest(
    "r-1", CheckType.BANK_CARD_FOUR_FACTOR, PERSON, "test", expires_at=None, context=None
)
_KEYS = [
    "requestId", "result", "authInfo", "success", "hasException", "code", "message", "detail",
    "chargeFlag", "error", "status", "idCard", "SUCCESS", "success ", "hasexception",
]  # fmt: skip
_INFO = ("success", "hasException", "code", "message", "detail")
_ESCAPED = "".join(f"\\u{ord(char):04x}" for char in ID_CARD)
_VALUES = [
    True, False, None, "true", "false", 1, 0, "1", "0", "2", 1.0, Raw("1e0"), "ok", "no_record",
    "库中无此号", ID_CARD, ID_CARD.lower(), NAME, MOBILE, BANKCARD, int(MOBILE),
    f"idCard {ID_CARD} is wrong", f"rq-{ID_CARD}", f"E_{ID_CARD}",
    _ESCAPED, f"{ID_CARD[:6]} {ID_CARD[6:14]} {ID_CARD[14:]}", "QUOTA_EXCEEDED",
    "APIGW_NONCE_CONFLICT", '{"chargeFlag":"1"}', '{"chargeFlag":"0"}', '{"chargeFlag":1}',
]  # fmt: skip


_OWN = [ID_CARD, f"no {ID_CARD.lower()} here", _ESCAPED, _ESCAPED.replace("\\", "\\\\"), MOBILE]
_texts = st.sampled_from(["ok", "认证通过", "", None, *_OWN])
_details = st.sampled_from(
    ['{"chargeFlag":"1"}', '{"chargeFlag":"0"}', {"chargeFlag": "1"}, {"chargeFlag": 0}, None, "",
     {"idCard": ID_CARD}, *_OWN]
)  # fmt: skip
_flags = st.sampled_from([True, True, False, None])
_infos = st.builds(
    lambda *values: dict(zip(_INFO, values, strict=True)), _flags, _flags, _texts, _texts, _details
)
_request_ids = st.sampled_from(["rq-1", "rq-1", None, ID_CARD, f"rq-{BANKCARD}"])
_errors = st.builds(
    lambda status, message: {"code": 429, "status": status, "message": message},
    st.sampled_from(["X_QUOTA_EXCEEDED", "APIGW_NONCE_CONFLICT", f"E_{ID_CARD}", None]),
    _texts,
)
valid_answers = st.builds(
    lambda request_id, rest: tree({"requestId": request_id, **rest}),
    _request_ids,
    st.one_of(
        _infos.map(lambda info: {"result": {"authInfo": info}}),
        _infos.map(lambda info: {"result": info}),
        _errors.map(lambda error: {"error": error}),
    ),
)
answer_bodies = changed(valid_answers, _VALUES, _KEYS)
# All of three digits, those that mean something more often, and those that HTTP does not know.
statuses = st.sampled_from([200, 401, 403, 429, 500]) | st.integers(100, 999)


def _parsed(text: bytes | str) -> Any:
    """Return a document with every key of its objects, or None."""
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: Pairs(tuple(pairs)))
    except (ValueError, RecursionError):
        return None


def _all_of(node: Any, key: str) -> list[Any]:
    """Return each value that an object gives this key."""
    return [value for name, value in node.items if name == key] if isinstance(node, Pairs) else []


def _anywhere(node: Any, key: str) -> Iterator[Any]:
    """Yield each value that a key has, at any depth, also in texts that are JSON."""
    if isinstance(node, str) and key in node:
        node = _parsed(node)
    yield from _all_of(node, key)
    for inner in children(node):
        yield from _anywhere(inner, key)


def says_match(body: bytes) -> bool:
    """Tell whether a body says success, as a boolean, and nowhere a failure or an exception."""
    results = _all_of(_parsed(body), "result")
    if len(results) != 1:
        return False
    nested = [info for info in _all_of(results[0], "authInfo") if isinstance(info, Pairs)]
    successes = [flag for each in (*results, *nested) for flag in _all_of(each, "success")]
    exceptions = [flag for each in (*results, *nested) for flag in _all_of(each, "hasException")]
    return (
        len(nested) <= 1
        and bool(successes)
        and all(flag is True for flag in successes)
        and all(flag is False or flag is None for flag in exceptions)
    )


def says_charged(body: bytes) -> bool:
    """Tell whether an answer says anywhere that the call is charged."""
    try:
        if not isinstance(orjson.loads(body), dict):
            return False
    except orjson.JSONDecodeError:  # then nobody can say what it says
        return False
    flags = _anywhere(_parsed(body), "chargeFlag")
    return any(flag in ("1", 1) and type(flag) in (str, int) for flag in flags)


def check(report: CallReport, body: bytes) -> None:
    """Check what holds for the report of an answer with this body."""
    check_texts(report)
    if report.verdict is Outcome.MATCH:
        assert says_match(body)
    if report.charged is Charged.NO:
        assert not says_charged(body)


def check_texts(report: CallReport) -> None:
    """Check what holds for any report."""
    assert (report.verdict is not None) == (report.call_class is CallClass.ANSWERED)
    assert report.retry_after is None or 0 <= report.retry_after <= 3600
    info = report.auth_info
    texts = [report.status, report.provider_request_id]
    texts += [info.code, info.message, info.detail] if info else []
    said = "\n".join(text for text in texts if text is not None)
    said.encode()  # neither the database nor the event takes a lone surrogate
    assert "\x00" not in said
    plain = re.sub(r"\\+u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), said)
    for shown in (said.upper(), plain.upper()):
        assert not [value for value in PERSON.fields.values() if value in shown]
    assert len(said) < 5_000
