"""An answer as it comes off the socket: its head, its framing, and that nothing follows it.

http.client reads it, but for three things. The head is read without the email parser (half of a
call's CPU otherwise). Framing that two readers could understand in two ways is refused, for what
is left of one answer would be the next request's answer: another person's verdict. And whatever
comes after an answer is noticed while it can be, so that its connection is not used again.
"""

import http.client
import io
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

# http.client's own limits: generous, for an answer is paid for, whatever stands in its head.
_MAX_LINE = 64 * 1024
_MAX_LINES = 100
# Interim answers (1xx) before the real one: 100 and 103 are seen at times, never twenty.
_MAX_INTERIM = 20
# All that is read of a head; the rest of it is not kept.
_KEPT = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "retry-after", "server",
     "transfer-encoding"}
)  # fmt: skip
# int() also reads signs, underscores and "0x": -1 would be read to the end, however far it is.
# 15 hex digits are an exabyte.
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n]*)?\r?\n")


class UnreadableHead(http.client.HTTPException):
    """The answer's head breaks off, has no end, or frames its body in two ways."""


class UnreadableChunk(http.client.HTTPException):
    """The answer's body is not chunked as its head says."""


class _Source(io.RawIOBase):
    """What comes off a socket, until the answer is over; `on_wait` is told of each wait for it."""

    def __init__(self, sock: socket.socket, on_wait: Callable[[], None]) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._on_wait = on_wait
        self.is_over = False

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what http.client reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Wait for what comes; after the answer nothing does, without a look at the socket."""
        if self.is_over:
            return None
        self._on_wait()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close it; the socket stays open while its connection has it."""
        self._raw.close()
        super().close()


class Answer(http.client.HTTPResponse):
    """An answer; once it is read, `surplus` tells whether the connection holds more than it.

    `on_over` is told when nothing more is read, before the socket can be closed. `release` gives
    the connection back; it is used again if the answer was read to its end.
    """

    def __init__(
        self, sock: socket.socket, on_wait: Callable[[], None], on_over: Callable[[], None]
    ) -> None:
        self._source = _Source(sock, on_wait)
        self._on_over = on_over
        super().__init__(self._source, method="POST")  # type: ignore[arg-type]
        self._sock = sock
        self.surplus = False
        self.release: Callable[[], None] = self.close

    def begin(self) -> None:
        """Read the head; afterwards `headers` is a plain dict, names in lower case."""
        version, status, reason = self._read_final_status()
        self.status, self.reason = status, reason.strip()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        headers = self._read_lines()
        self.headers = self.msg = headers  # type: ignore[assignment]
        codings = headers.get("transfer-encoding")
        self.chunked = (codings or "").rpartition(",")[2].strip().lower() == "chunked"
        self.chunk_left = None
        length = _length(headers.get("content-length"))
        self.length = length if codings is None else None
        if status in (204, 304):
            self.length = 0
        # Without a length the body ends with the connection. Where it is framed twice, the coding
        # counts (RFC 9112, 6.3), and what the other reader of it leaves behind is not ours.
        self.will_close = self._check_close() or (  # type: ignore[attr-defined]
            not self.chunked if self.length is None else False
        )
        self.surplus = codings is not None and length is not None

    def _read_final_status(self) -> tuple[str, int, str]:
        for _ in range(_MAX_INTERIM):
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            if status == http.client.SWITCHING_PROTOCOLS:
                raise UnreadableHead("the server speaks another protocol from here on")
            if status >= http.client.OK:
                return version, status, reason
            self._read_lines()
        raise UnreadableHead("interim answers have no end")

    def _read_lines(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        name = ""
        readline = self.fp.readline
        for _ in range(_MAX_LINES):
            line = readline(_MAX_LINE)
            if line in (b"\r\n", b"\n"):
                return headers
            if not line.endswith(b"\n"):
                break
            if line[:1] in (b" ", b"\t"):
                if name in _KEPT:  # some readers join such a line to the one before, some do not
                    raise UnreadableHead("a header that matters is folded")
                continue
            name, _, value = line.decode("latin-1").partition(":")
            name = name.strip().lower()
            if name in _KEPT:
                value = value.strip()
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        raise UnreadableHead("the head has no end")

    # http.client calls these two while it reads the body.

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(_MAX_LINE)
        if not _CHUNK_SIZE.fullmatch(line):
            raise UnreadableChunk("a chunk has no size")
        return int(line.partition(b";")[0], 16)

    def _close_conn(self) -> None:
        """Let the connection go, at the body's end; the buffer goes with it, so look first."""
        self._on_over()
        if not self.will_close:
            self.surplus = self.surplus or self._has_more()
        super()._close_conn()  # type: ignore[misc]

    def _has_more(self) -> bool:
        """Whether more was read than the answer. What comes later the pool sees, before it is used.

        So nobody looks at the socket here: that would be one more wait for the interpreter's lock.
        """
        self._source.is_over = True
        # What TLS has decrypted beyond what was read.
        decrypted = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        return decrypted > 0 or self.fp.peek(1) != b""


def _length(value: str | None) -> int | None:
    if value is None:
        return None
    lengths = {length.strip() for length in value.split(",")}
    length = lengths.pop()
    # 18 digits are an exabyte; longer numbers are refused before int() reads them.
    if lengths or not (length.isascii() and length.isdecimal() and len(length) <= 18):
        raise UnreadableHead("Content-Length is not one number")
    return int(length)
