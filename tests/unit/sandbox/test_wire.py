"""The reader of requests: strict, and never surprised."""

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.sandbox.wire import MAX_BODY, MAX_HEAD, Malformed, Request, RequestReader

HOST = b"Host: a\r\n"


def read(data: bytes) -> list[Request]:
    reader = RequestReader()
    reader.feed(data)
    return list(iter(reader.next_request, None))


def test_requests_are_read_in_order_from_one_stream() -> None:
    first, second = read(
        b"\r\nPOST /a?x=1 HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
        b"GET /b HTTP/1.1\r\nhost:a\r\nConnection: close\r\n\r\n"
    )
    assert (first.method, first.path, first.body, first.keep_alive) == ("POST", "/a", b"abc", True)
    assert (second.target, second.body, second.keep_alive) == ("/b", b"", False)
    assert second.headers["host"] == "a"


def test_http_1_0_closes_unless_told_otherwise() -> None:
    assert not read(b"GET / HTTP/1.0\r\n\r\n")[0].keep_alive
    assert read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")[0].keep_alive


@given(st.lists(st.integers(0, 90), max_size=6))
@settings(max_examples=50, deadline=None)
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    data = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n\r\n\r\n."
    data += b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n"
    reader = RequestReader()
    found: list[Request] = []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        reader.feed(data[start:end])
        found.extend(iter(reader.next_request, None))
    assert found == read(data)
    assert len(found) == 2


@given(st.binary(max_size=300), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"POST "]))
@settings(max_examples=80, deadline=None)
def test_garbage_is_malformed_or_incomplete_and_nothing_else(data: bytes, start: bytes) -> None:
    with contextlib.suppress(Malformed):
        read(start + data + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),  # TLS
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Name : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b" folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: \x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        # Lengths that two parsers could read in two ways.
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \xb2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        # Too much.
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"GET /" + b"a" * MAX_HEAD, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * MAX_HEAD + b"\r\n\r\n", 431),
    ],
)
def test_a_malformed_request_is_refused_with_its_status(data: bytes, code: int) -> None:
    with pytest.raises(Malformed) as caught:
        read(data)
    assert caught.value.code == code


def test_a_request_has_no_repr_of_its_person() -> None:
    data = b"POST / HTTP/1.1\r\n" + HOST + b"X-Name: secret\r\nContent-Length: 6\r\n\r\nsecret"
    assert "secret" not in repr(read(data)[0])
