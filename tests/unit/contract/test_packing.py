"""A packed body is read like a raw one, within the limit; what it is packed in else is named."""

import gzip
import json
import tracemalloc
import zlib
from datetime import date

import pytest

from tests.fakes.keys import encrypted, message_keys
from tests.fakes.messages import deliver, request
from worker.contract.request_v1 import Accepted, Reading, Refused, RequestReader, Unreadable
from worker.core.checks import CheckPolicy

BODY = json.dumps(request()).encode()
LIMIT = 4096


def read(body: bytes, encoding: str | None, limit: int = LIMIT) -> Reading:
    reader = RequestReader(CheckPolicy(), limit, message_keys())
    return reader.read(deliver(body, content_encoding=encoding), date(2026, 11, 28))


def named(value: object) -> str | None:
    """Name a body alike in every process: gzip writes the time into it."""
    return "body" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), " GZIP "),
        (gzip.compress(BODY), "x-gzip"),
        (gzip.compress(BODY), "gzip:UTF-8"),  # as Spring writes it
        (gzip.compress(BODY), "gzip, UTF-8"),
        (zlib.compress(BODY), "deflate"),
        (zlib.compress(BODY)[2:-4], "deflate"),  # raw, without what zlib puts around it
        (gzip.compress(encrypted(BODY)), "gzip"),
        (BODY, "utf-8"),  # as kombu writes it
        (BODY, "identity"),
        (BODY, "a word of its own"),
        (BODY, ""),
    ],
    ids=named,
)
def test_a_packed_request_is_a_request(body: bytes, encoding: str) -> None:
    assert isinstance(read(body, encoding), Accepted)


@pytest.mark.parametrize(
    ("body", "encoding", "reason", "problem"),
    [
        (gzip.compress(b" " * LIMIT + BODY), "gzip", "too_large", "when unpacked"),
        (gzip.compress(BODY)[:-9], "gzip", "not_json", "is not gzip, or not all of it"),
        (BODY, "gzip", "not_json", "is not gzip, or not all of it"),
        (b"\x28\xb5\x2f\xfd", "zstd", "not_json", "zstd is not known here: gzip and deflate are"),
        (b"\x1b", "br", "not_json", "br is not known here"),
        (gzip.compress(gzip.compress(BODY)), "gzip, gzip", "not_json", "what it says is not known"),
        (b"\xff", "11010519491231002X", "not_json", "what it says is not known"),
    ],
    ids=named,
)
def test_what_cannot_be_unpacked_is_refused_in_words(
    body: bytes, encoding: str, reason: str, problem: str
) -> None:
    reading = read(body, encoding)
    assert isinstance(reading, Unreadable)
    assert reading.reason == reason
    assert problem in reading.problem.problem
    assert "110105" not in repr(reading)


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    reading = read(bomb, "gzip", limit=1024 * 1024)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(reading, Unreadable)
    assert reading.reason == "too_large"
    assert peak < 8 * 1024 * 1024


def test_packed_or_not_a_wrong_request_is_the_same_to_the_ledger() -> None:
    wrong = json.dumps(request(extra=1)).encode()
    readings = read(wrong, None), read(gzip.compress(wrong), "gzip")
    assert [each.body for each in readings if isinstance(each, Refused)] == [wrong, wrong]
