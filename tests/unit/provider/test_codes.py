"""The classification: a row per line of worker/provider/README.md, Answers, and its edges."""

import re
from datetime import UTC, datetime

import orjson
import pytest

from worker.core.outcome import CallClass, Charged, Outcome
from worker.core.request import Person, PersonField
from worker.provider.bodies import decode
from worker.provider.codes import classify, retry_after_seconds

NO_RECORD = re.compile("查无|无记录|库中无")
PERSON = Person({PersonField.NAME: "张三", PersonField.ID_CARD: "11010519491231002X"})
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def info(success: object, exception: object = False, message: str = "x", flag: str = "") -> bytes:
    detail = f'{{"chargeFlag":"{flag}"}}' if flag else "plain words"
    answer = {"success": success, "hasException": exception, "message": message, "detail": detail}
    return orjson.dumps({"result": {"authInfo": answer}})


def error(status: object) -> bytes:
    return orjson.dumps({"requestId": "r", "error": {"code": 1, "status": status}})


TABLE = [
    # Answers. Match and mismatch are billed, a missing record is not: unless the flag knows better.
    (200, info(True), "answered", "yes", "match"),
    (200, info(False), "answered", "yes", "mismatch"),
    (200, info(False, message="库中无此号"), "answered", "no", "no_record"),
    (200, info(True, message="查无异常"), "answered", "yes", "match"),  # the rule is for failures
    (200, info(True, flag="0"), "answered", "no", "match"),
    (200, info(False, message="查无", flag="1"), "answered", "yes", "no_record"),
    (201, info(True), "answered", "yes", "match"),  # any success will do
    (403, info(False), "answered", "yes", "mismatch"),  # a 403 with authInfo is an answer
    (403, info(True), "answered", "yes", "match"),
    # The provider's own source failed.
    (200, info(False, True), "source_failed", "unknown", None),
    (200, info(False, True, flag="0"), "source_failed", "no", None),
    (200, info(False, True, flag="1"), "source_failed", "yes", None),
    # Contradictions and nonsense are never a match.
    (200, info(True, True), "protocol_error", "unknown", None),
    (200, info(True, True, flag="1"), "protocol_error", "yes", None),
    (200, info("true"), "protocol_error", "unknown", None),
    (200, info(1), "protocol_error", "unknown", None),
    (200, info(None), "protocol_error", "unknown", None),
    (200, info(True, "false"), "protocol_error", "unknown", None),
    (200, info(True, 0), "protocol_error", "unknown", None),
    (200, b'{"result":{"authInfo":{"hasException":false}}}', "protocol_error", "unknown", None),
    (403, b'{"result":{"authInfo":{}}}', "protocol_error", "unknown", None),  # it holds authInfo
    # No exception reported is no exception: the document calls no field of an answer optional,
    # but a provider that leaves out "false" must not cost every paid call its verdict.
    (200, b'{"result":{"success":true}}', "answered", "yes", "match"),
    (200, b'{"result":{"success":false,"hasException":null}}', "answered", "yes", "mismatch"),
    # A key that says two things; orjson would take the last.
    (200, b'{"result":{"success":false,"success":true}}', "protocol_error", "unknown", None),
    (200, b'{"result":{"success":true,"hasException":true,"hasException":false}}',
     "protocol_error", "unknown", None),
    (200, b'{"result":{"success":false},"result":{"success":true}}',
     "protocol_error", "unknown", None),
    # Nested and flat at once: agreeing or not.
    (200, b'{"result":{"success":true,"authInfo":{"success":true}}}', "answered", "yes", "match"),
    (200, b'{"result":{"success":false,"authInfo":{"success":true}}}',
     "protocol_error", "unknown", None),
    # An answer and an error at once.
    (200, b'{"requestId":"r","result":{"success":true},"error":{"status":"INTERNAL"}}',
     "protocol_error", "unknown", None),
    # The provider's own word with a success status and without an answer.
    (200, b'{"requestId":"r","result":null}', "protocol_error", "unknown", None),
    (200, b'{"result":{}}', "protocol_error", "unknown", None),
    (200, error("INTERNAL"), "protocol_error", "unknown", None),
    # Another page with a success status: it may well have been charged.
    *[(200, body, "in_doubt", "unknown", None) for body in
      (b"<html>", b"", b"[]", b'{"result":null}', b'{"ok":true}', b'{"error":"blocked"}')],
    (204, b"", "in_doubt", "unknown", None),
    # A page of something between us and the provider is nobody's word about this request.
    *[(code, body, "foreign", "no", None)
      for code in (301, 302, 304, 400, 401, 403, 404, 405, 407, 408, 409, 413, 414, 421, 425, 451)
      for body in (b"", b"<html>", b"{}", b'{"error":"blocked"}', b'{"error":{"code":1}}')],
    *[(code, b"<html>", "foreign", "unknown", None) for code in (500, 501, 502, 503, 520, 599)],
    (504, b"<html>", "in_doubt", "unknown", None),
    (504, error("HTTP_SERVER_TIMING_OUT"), "in_doubt", "unknown", None),
    (502, b'{"chargeFlag":"1"}', "foreign", "unknown", None),
    # Refused: final, free.
    *[(code, error("INVALID_ARGUMENT"), "refused", "no", None)
      for code in (400, 404, 405, 409, 413, 414, 422, 501)],
    # Without a status word nobody's refusal of this request: the address or the way is wrong.
    *[(code, error(None), "unavailable", "unknown", None) for code in (404, 405)],
    (400, info(True), "refused", "no", None),  # only a 403 may carry an answer
    # The server did not wait for the request, or did not want it yet: no refusal.
    *[(code, error("UNAVAILABLE"), "unavailable", "unknown", None) for code in (408, 425)],
    # Credentials: every message would fail.
    (401, error("UNAUTHENTICATED"), "credentials", "no", None),
    (403, error("FAIL"), "credentials", "no", None),
    (403, error("APIGW_NONCE_CONFLICT"), "credentials", "no", None),  # the client signs anew once
    (403, b'{"result":{}}', "credentials", "no", None),
    # Too many, for a while or for good.
    (429, error("RATE_LIMIT_EXCEEDED"), "throttled", "no", None),
    (429, b"<html>", "throttled", "no", None),
    (429, error("QUOTA_EXCEEDED"), "quota", "no", None),
    (429, error("APIGW_QUOTA_EXCEEDED"), "quota", "no", None),
    # Transient, and nobody knows whether it was charged.
    *[(code, error("UNAVAILABLE"), "unavailable", "unknown", None)
      for code in (500, 502, 503, 507, 599)],
    (500, info(True), "unavailable", "unknown", None),
    (500, info(True, flag="1"), "unavailable", "yes", None),  # the flag decides where it is there
    # A key that says two things in disguise, nested and flat that differ, no booleans.
    *[(200, b'{"result":%b}' % said, "protocol_error", "unknown", None) for said in (
        rb'{"success":false,"succ\u0065ss":true}',
        rb'{"success":true,"hasException":true,"\u0068asException":false}',
        b'{"authInfo":{"hasException":true},"authInfo":{"success":true}}',
        b'{"hasException":true,"authInfo":{"success":true}}',
        *(b'{"success":%b}' % flag for flag in (b"[true]", b'{"a":true}', b"1e0")),
        *(b'{"success":true,"hasException":%b}' % flag for flag in (b"[]", b"{}")))],
    # Not JSON, though some readers take it.
    *[(200, said, "in_doubt", "unknown", None) for said in (
        b'{"result":{"success":True}}', b'{"result":{"success":true,}}',
        b"\xef\xbb\xbf" + info(True),
        *(b'{"result":{"success":true,"code":%b}}' % code
          for code in (b"NaN", b"-Infinity", b'"\x00"', b'"\xff"', b'"\xc0\xae"',
                       b'"\xed\xa0\x80"')),
        info(True).decode().encode("utf-16"), info(True) * 2, b")]}'," + info(True), b"[" * 100_000,
        b'{"result":' * 20_000 + info(True) + b"}" * 20_000, b'{"result":[{"success":true}]}')],
    # Statuses that are none.
    (103, b"", "foreign", "no", None),
    (600, b"", "foreign", "unknown", None),
    (600, error("INTERNAL"), "protocol_error", "unknown", None),
    (999, info(True), "protocol_error", "unknown", None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "call_class", "charged", "verdict"), TABLE)
def test_an_answer_means_what_the_table_says(
    status: int, body: bytes, call_class: str, charged: str, verdict: str | None
) -> None:
    report = classify(status, decode(body, PERSON), None, NO_RECORD)
    assert (report.call_class, report.charged, report.verdict, report.http_status) == (
        CallClass(call_class),
        Charged(charged),
        None if verdict is None else Outcome(verdict),
        status,
    )


def test_only_the_provider_says_when_to_come_again() -> None:
    assert classify(429, None, None, NO_RECORD).retry_after is None
    assert classify(429, None, 7.0, NO_RECORD).retry_after == 7.0
    assert classify(500, None, None, NO_RECORD).retry_after is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("86400", 3600.0),  # nobody may park us for a day
        ("9" * 5000, 3600.0),
        ("-5", None),
        ("1.5", None),  # RFC 9110 has whole seconds only
        ("soon", None),
        ("٣", None),  # digits, but not ASCII
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),  # in the past: now
        ("Fri, 02 Jan 2026 03:05:05 -0000", 60.0),  # a date without a zone is UTC
        ("Fri, 02 Jan 99999 03:05:05 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_bounded(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(value, NOW) == seconds
