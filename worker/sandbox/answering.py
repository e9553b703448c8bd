"""How an act reaches the client: whole, late, in drops, cut, reset, or never.

aiohttp speaks HTTP; its transport is used bare for what no well-kept server does.
"""

import socket
import struct
from asyncio import Transport
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, assert_never

from aiohttp import web

from worker.sandbox.behaviours import Act, Headers, Manner
from worker.sandbox.settings import SandboxSettings

#: In the Server header of every answer: by it a live worker knows that it talks to a stand-in.
SERVER: Final = "personal-auth-sandbox"

_PADDING = b"x" * 65_536

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answering:
    """One act on its way to its client; a client that gives up ends it (by cancellation).

    `answered` is called before the last byte is sent, so that who has it can rely on the count.
    """

    request: web.BaseRequest
    settings: SandboxSettings
    sleep: Sleep
    answered: Callable[[], None]

    async def carry_out(self, act: Act, body: bytes) -> web.StreamResponse:
        """Do what the act says; return the response that has been, or is to be, sent."""
        if act.manner is Manner.SLOW:
            await self.sleep(self.settings.slow_seconds)
        if act.manner in (Manner.WHOLE, Manner.SLOW):
            self.answered()
            return response(act, body)
        stream = web.StreamResponse(status=act.status, headers=_headers(act))
        match act.manner:
            case Manner.TRUNCATED:
                stream.content_length = len(body)
                stream.force_close()
                await stream.prepare(self.request)
                await stream.write(body[: len(body) // 2])
            case Manner.DRIPPED_BODY:
                stream.content_length = len(body)
                await stream.prepare(self.request)
                await self._drip(body, stream.write)
            case Manner.DRIPPED:
                await self._drip(_head(act, len(body)) + body, self._write_bare)
                self._transport.close()
            case Manner.HUGE:
                await stream.prepare(self.request)
                await self._pour(body, stream)
            case Manner.NEVER:
                await self.sleep(self.settings.hang_seconds)
                self._transport.abort()
            case Manner.RESET:
                self._reset()
            case _:
                assert_never(act.manner)
        return stream

    async def _drip(self, data: bytes, write: Callable[[bytes], Awaitable[None]]) -> None:
        for place in range(len(data) - 1):
            await write(data[place : place + 1])
            await self.sleep(self.settings.drip_interval)
        self.answered()
        await write(data[-1:])

    async def _pour(self, body: bytes, stream: web.StreamResponse) -> None:
        """Send padding as fast as the client reads, so that the whole is JSON."""
        await stream.write(body.removesuffix(b"}") + b',"padding":"')
        for sent in range(0, self.settings.huge_bytes, len(_PADDING)):
            await stream.write(_PADDING[: self.settings.huge_bytes - sent])
        self.answered()
        await stream.write_eof(b'"}')

    def _reset(self) -> None:
        """Close so that the client's kernel is told RST: no lingering, nothing flushed."""
        tcp = self._transport.get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _write_bare(self, data: bytes) -> None:
        self._transport.write(data)

    @property
    def _transport(self) -> Transport:
        transport = self.request.transport
        assert transport is not None  # noqa: S101 - else the client left and this was cancelled
        return transport


def response(act: Act, body: bytes) -> web.Response:
    """Return a response that aiohttp sends whole."""
    return web.Response(body=body, status=act.status, headers=_headers(act))


def _headers(act: Act) -> Headers:
    return (("Content-Type", act.content_type), ("Server", SERVER), *act.headers)


def _head(act: Act, length: int) -> bytes:
    fields = (*_headers(act), ("Content-Length", str(length)), ("Connection", "close"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {act.status} {HTTPStatus(act.status).phrase}\r\n{lines}\r\n".encode()
