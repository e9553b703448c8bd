"""HTTP/1.1 as bytes: a small, strict reader of requests and a writer of response heads. No I/O.

Strict on purpose: a request that two parsers could read in two ways is refused, not guessed.

    Malformed    the connection cannot go on: answer with its status, then close
"""

import re
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

# Our client sends about 600 bytes; nginx and JD's gateway allow 8 to 32 KiB.
MAX_HEAD = 16 * 1024
# A portrait of 150 kB is 200 kB of base64; 8 MiB leaves room to test clients that send too much.
MAX_BODY = 8 * 1024 * 1024

_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (/[!-~\x80-\xff]*) HTTP/1\.([01])")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
# Headers that no sender repeats; two of them are an attack or a broken client.
_SINGLE = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "x-jdcloud-date",
        "x-jdcloud-nonce",
        "x-jdcloud-security-token",
    }
)


class Malformed(Exception):
    """The bytes received are not a request that we read."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are lowercase; values are Latin-1, one character per byte."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    keep_alive: bool

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    target: str
    headers: dict[str, str]
    length: int
    keep_alive: bool


class RequestReader:
    """Turns the bytes of one connection into requests, in order; holds at most one request's."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._continued = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they were received."""
        self._buffer += data

    @property
    def buffered(self) -> int:
        """How many bytes wait here."""
        return len(self._buffer)

    def next_request(self) -> Request | None:
        """Return the next whole request, None where bytes are missing; raise `Malformed`."""
        if self._head is None:
            self._head = self._read_head()
            self._continued = False
        head = self._head
        if head is None or len(self._buffer) < head.length:
            return None
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        self._head = None
        return Request(head.method, head.target, head.headers, body, head.keep_alive)

    def wants_continue(self) -> bool:
        """Say, once a request, that the client waits for "100 Continue" (curl, large bodies)."""
        head = self._head
        if head is None or self._continued or self._buffer:
            return False
        self._continued = True
        return head.headers.get("expect", "").lower() == "100-continue"

    def _read_head(self) -> _Head | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: ignore empty lines before
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        if end < 0:
            _refuse_hopeless(buffer)
            return None
        head = _parse_head(buffer[:end].decode("latin-1"))
        del buffer[: end + 4]
        return head


def _refuse_hopeless(buffer: bytearray) -> None:
    """Raise where no further byte could make a head of this (TLS, bare line feeds, too long)."""
    if len(buffer) >= MAX_HEAD:
        raise Malformed(431, "the headers are too long")
    if buffer and buffer != b"\r" and not 65 <= buffer[0] <= 90:
        raise Malformed(400, "not an HTTP request")
    if _BARE_LINE_FEED.search(buffer):
        raise Malformed(400, "a line does not end in CR LF")


def _parse_head(text: str) -> _Head:
    if _CONTROL.search(text):
        raise Malformed(400, "a control character in the headers")
    first, *lines = text.split("\r\n")
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        raise Malformed(400, "not an HTTP/1.1 request line")
    method, target, minor = found.groups()
    headers = _parse_headers(lines)
    if minor == "1" and not headers.get("host"):
        raise Malformed(400, "no Host header")
    if "transfer-encoding" in headers:
        raise Malformed(411, "send a Content-Length; chunked requests are not read")
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if minor == "1" else "keep-alive" in connection
    return _Head(method, target, headers, _length(headers), keep_alive)


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or _TOKEN.fullmatch(name) is None:
            raise Malformed(400, "a header line without a name")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name in _SINGLE:
                raise Malformed(400, "a header that must not repeat is repeated")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _length(headers: dict[str, str]) -> int:
    value = headers.get("content-length", "0")
    if not (value.isascii() and value.isdigit()):
        raise Malformed(400, "Content-Length is not a number")
    # The digits are bounded before int() reads them: it is quadratic in their number.
    if len(value) > 16 or int(value) > MAX_BODY:
        raise Malformed(413, "the body is too long")
    return int(value)


def response_head(
    status: int, now: float, keep_alive: bool, headers: tuple[tuple[str, str], ...]
) -> bytes:
    """Return a response's head, blank line included. `now` is epoch seconds, for `Date`."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    connection = "keep-alive" if keep_alive else "close"
    return (
        f"HTTP/1.1 {status} {_phrase(status)}\r\n{_standing_lines(int(now))}"
        f"Connection: {connection}\r\n{lines}\r\n"
    ).encode("latin-1")


@lru_cache(maxsize=64)
def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


@lru_cache(maxsize=2)
def _standing_lines(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\nServer: personal-auth-sandbox\r\n"
