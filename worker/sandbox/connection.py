"""One client's connection: reads requests, carries out turns. The server's event loop only.

At most one turn is under way on a connection, and at most one timer runs; a client that gives up
ends both.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import assert_never

from worker.sandbox.acts import Hang, Manner, Reset, Respond, Turn
from worker.sandbox.answers import padded
from worker.sandbox.endpoint import Endpoint, refusal_turn
from worker.sandbox.refusal import Refused
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.wire import MAX_BODY, MAX_HEAD, Malformed, Request, RequestReader, response_head

# A client may still be sending when we close (a body that we refused by its length): closing at
# once would reset the connection and could take the answer with it. A second is a thousand round
# trips here.
_LINGER_SECONDS = 1.0
_PADDING = b"x" * 65_536
# 1 MiB on end, then other connections get their turn.
_CHUNKS_ON_END = 16


class Connection(asyncio.Protocol):
    """Serves one client; `open_connections` holds it while it is open."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: SandboxSettings,
        open_connections: "set[Connection]",
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._open_connections = open_connections
        self._reader = RequestReader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._timer: asyncio.Handle | None = None
        self._busy = False
        self._closing = False
        self._keep_alive = True
        self._writable = True
        self._on_writable: Callable[[], None] | None = None
        self._turn: Turn | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_server's promise
        self._transport = transport
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        """End whatever was under way."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._open_connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Serve every whole request, in order; keep the rest."""
        if self._closing:
            return
        self._reader.feed(data)
        self._serve()
        if self._reader.buffered > MAX_HEAD + MAX_BODY:  # sent ahead of our answers
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than we write."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on where a slow reader had stopped us."""
        self._writable = True
        resume, self._on_writable = self._on_writable, None
        if resume is not None:
            self._later(0, resume)
        elif not self._busy:  # a turn under way has its own timer, and serves when it ends
            self._later(0, self._serve)

    def abort(self) -> None:
        """Drop the connection now."""
        self._transport.abort()

    # Requests.

    def _serve(self) -> None:
        # A client that does not read its answers gets no further ones: our buffer stays bounded.
        while self._writable and not (self._busy or self._closing):
            try:
                request = self._reader.next_request()
            except Malformed as error:
                self._refuse(error)
                return
            if request is None:
                self._ask_for_more()
                return
            self._begin(request)

    def _ask_for_more(self) -> None:
        if not self._transport.is_reading():
            self._transport.resume_reading()
        if self._reader.wants_continue():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _begin(self, request: Request) -> None:
        self._busy = True
        self._keep_alive = request.keep_alive
        latency = self._endpoint.latency  # before the call is counted: who sees it may change it
        turn = self._endpoint.turn(request)
        if request.method == "HEAD":
            turn = Turn(turn.act)
        self._turn = turn
        # What is no call is answered at once: a scenario's long latency must not delay its end.
        if latency and turn.era is not None:
            self._later(latency, lambda: self._perform(turn))
        else:
            self._perform(turn)

    def _end(self) -> None:
        self._busy = False
        if not self._keep_alive:
            self._close()

    def _refuse(self, error: Malformed) -> None:
        turn = refusal_turn(Refused(error.code, "INVALID_ARGUMENT", error.message))
        self._keep_alive = False
        self._turn = turn
        self._perform(turn)

    def _close(self) -> None:
        """Say that we are done, then wait a moment for the client to be so, too."""
        self._closing = True
        self._transport.write_eof()
        self._timer = self._loop.call_later(_LINGER_SECONDS, self._transport.close)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Carry on after a while, then with what the client has sent meanwhile."""

        def fire() -> None:
            if not self._closing:
                call()
                self._serve()

        self._timer = self._loop.call_later(seconds, fire)

    # Acts.

    def _perform(self, turn: Turn) -> None:
        match turn.act:
            case Respond() as respond:
                self._respond(respond, turn.body)
            case Hang():
                self._later(self._settings.hang_seconds, self._transport.abort)
            case Reset():
                self._reset()
            case _:
                assert_never(turn.act)

    def _respond(self, act: Respond, body: bytes) -> None:
        match act.manner:
            case Manner.WHOLE:
                self._send(self._head(act, len(body)) + body)
            case Manner.SLOW:
                response = self._head(act, len(body)) + body
                self._later(self._settings.slow_seconds, lambda: self._send(response))
            case Manner.TRUNCATED:
                self._keep_alive = False
                self._transport.write(self._head(act, len(body)) + body[: len(body) // 2])
                self._end()
            case Manner.DRIPPED_BODY:
                self._transport.write(self._head(act, len(body)))
                self._drip(memoryview(body))
            case Manner.DRIPPED:
                self._drip(memoryview(self._head(act, len(body)) + body))
            case Manner.HUGE:
                self._send_huge(act, body)
            case _:
                assert_never(act.manner)

    def _send(self, response: bytes) -> None:
        """Send a response, or the rest of it; counted first, so that who has it can rely on it."""
        if self._turn is not None:
            self._endpoint.count_answered(self._turn)
        self._transport.write(response)
        self._end()

    def _drip(self, rest: memoryview) -> None:
        if len(rest) <= 1:
            self._send(bytes(rest))
            return
        self._transport.write(rest[:1])
        self._later(self._settings.drip_interval, lambda: self._drip(rest[1:]))

    def _send_huge(self, act: Respond, body: bytes) -> None:
        before, after = padded(body)
        self._transport.write(self._head(act, None) + _chunk(before))
        self._pour(self._settings.huge_bytes, after)

    def _pour(self, rest: int, after: bytes) -> None:
        """Send padding as fast as the client reads, then the end."""
        for _ in range(_CHUNKS_ON_END):
            if rest <= 0 or not self._writable:
                break
            self._transport.write(_chunk(_PADDING[:rest]))
            rest -= len(_PADDING)
        if rest <= 0:
            self._send(_chunk(after) + _chunk(b""))
        elif self._writable:
            self._later(0, lambda: self._pour(rest, after))
        else:
            self._on_writable = lambda: self._pour(rest, after)

    def _reset(self) -> None:
        """Close so that the client's kernel is told RST: no lingering, nothing flushed."""
        self._closing = True
        tcp = self._transport.get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _head(self, act: Respond, length: int | None) -> bytes:
        framing = (
            ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        )
        headers = (("Content-Type", act.content_type), framing, *act.headers)
        return response_head(act.status, self._endpoint.clock(), self._keep_alive, headers)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
