"""A provider that answers every call after so many seconds; prints its port.

python -m tests.bench.late_provider 0.3
"""

from __future__ import annotations

import asyncio
import re
import sys

ANSWER = (
    '{"requestId":"bench","result":{"authInfo":{"success":true,"hasException":false,"code":"ok",'
    '"message":"","detail":"{\\"chargeFlag\\":\\"1\\"}"}}}'
)


class _Exchange(asyncio.Protocol):
    """One connection: every whole request is answered after so many seconds."""

    _LENGTH = re.compile(rb"content-length:[ \t]*([0-9]+)", re.IGNORECASE)
    _BYTES = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(ANSWER.encode())}\r\n\r\n{ANSWER}"
    ).encode()

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, separator, body = self._received.partition(b"\r\n\r\n")
            length = self._LENGTH.search(head)
            size = int(length[1]) if length else 0
            if not separator or len(body) < size:
                return
            self._received = body[size:]
            asyncio.get_running_loop().call_later(self._seconds, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._BYTES)


async def _serve(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Exchange(seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
