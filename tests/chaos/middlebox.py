"""A box in front of the provider that answers calls with a page of its own, when told to."""

from __future__ import annotations

from weakref import WeakSet

from tests.chaos.proxy import TO_CLIENT, TO_SERVER, Direction, Proxy, _Link

STATUSES = (
    "200 OK", "400 Bad Request", "403 Forbidden", "407 Proxy Authentication Required",
    "421 Misdirected Request", "502 Bad Gateway",
)  # fmt: skip
_BODY = b"<html><body><h1>This page is not the provider's</h1></body></html>\n"


class Middlebox(Proxy):
    """A proxy that keeps HTTP requests to itself while it has a page to show."""

    def __init__(self, host: str, port: int) -> None:
        self.pages = 0
        """Shown so far."""
        self._page: bytes | None = None
        self._kept: WeakSet[_Link] = WeakSet()
        super().__init__(host, port)

    def show(self, status: str) -> None:
        """Answer all calls with a page of this status from now on."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(_BODY)}\r\n"
        self._set(_page=f"{head}\r\n".encode() + _BODY)

    def clear(self) -> None:
        """Let all calls through again."""
        self._set(_page=None)

    async def pass_on(self, link: _Link, direction: Direction, data: bytes) -> bool:
        """Pass on, or keep a whole request: its head comes as a piece of its own, then its body."""
        if direction is TO_SERVER and data.startswith(b"POST "):
            self._kept.discard(link)
            if self._page is not None:
                self._kept.add(link)
                self.pages += 1
                await self._loop.sock_sendall(link.ends[TO_CLIENT], self._page)
        if direction is TO_SERVER and link in self._kept:
            return False
        return await super().pass_on(link, direction, data)
