"""A TCP proxy that is as bad as the worst network, when a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakSet

from local_ports import LOOPBACK, free_ports

Arrived = asyncio.Queue[tuple[float, bytes]]


_CHUNK = 65_536
# So many chunks are on their way at most; then the sender feels that nothing is taken.
_ON_THE_WAY = 4
# AMQP's client says who it is with its first two frames, far within this.
_OPENING_BYTES = 4_096
# An order waits for what the loop does at this moment, which is never much.
_ORDER_SECONDS = 60.0
_CONNECT_SECONDS = 5.0


def address(url: str) -> tuple[str, int]:
    """Return the host and port of a URL that names both."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


class Direction(StrEnum):
    """Which way bytes go; the client is the one that connected to the proxy."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


TO_SERVER, TO_CLIENT = Direction.TO_SERVER, Direction.TO_CLIENT


@dataclass(slots=True)
class _Cut:
    """A reset to come, when `left` more bytes have gone this way on the connections meant."""

    left: int
    direction: Direction
    only: bytes


class Proxy:
    """Forwards TCP from a free port of this machine to a server, and breaks it on demand.

        client ──────> proxy.port ══ TO_SERVER ══> server      stall(), resume()  nothing moves
               <──────            ══ TO_CLIENT ══              delay(seconds)     all moves later
                   │                   │                       cut_after(n)       n bytes, a reset
                   └ refuse(): closed  └ reset(): both sides   accept()           listens again

    Each order holds when its method returns; any thread may give it, at any time. `only` limits an
    order to connections whose client has sent these bytes when it began: an AMQP client names
    itself there, so `only=b"publish"` means the publishing connections of a worker.
    """

    def __init__(self, url: str, listens_on: str = LOOPBACK) -> None:
        self._listens_on = listens_on
        self.connections = 0
        """Accepted so far."""
        self.cuts = 0
        """Cuts that have happened."""
        self.bytes = dict.fromkeys(Direction, 0)
        """Forwarded so far, each way."""
        self.pieces = dict.fromkeys(Direction, 0)
        """Pieces in which they went: at most one for each of the sender's sends."""
        self._server = address(url)
        self._stalled_only: bytes | None = None
        self._resumed = asyncio.Event()
        self.seconds_on_the_way = 0.0
        self._cut: _Cut | None = None
        self._links: set[_Link] = set()
        # Not an ephemeral port: one day a client that dials a refused one connects to itself.
        (self.port,) = free_ports(1)
        self.url = self.through(url)
        """The URL that it was made with, with the proxy in place of its server."""
        self._listening: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self.accept()

    def through(self, url: str) -> str:
        """Return this URL with the proxy in place of its server."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        host = f"[{self._listens_on}]" if ":" in self._listens_on else self._listens_on
        return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{self.port}"))

    def destination(self) -> tuple[str, int]:
        """Return where the next connection goes."""
        return self._server

    # Orders

    def stall(self, only: bytes = b"") -> None:
        """Take bytes of nobody, forward nothing, keep every connection open."""
        self._set(_stalled_only=only)

    def resume(self) -> None:
        """End a stall: what was on its way arrives."""

        async def resume() -> None:
            self._stalled_only = None
            self._resumed.set()
            self._resumed = asyncio.Event()

        self._order(resume())

    def delay(self, seconds: float) -> None:
        """Forward all that comes from now on so many seconds later; 0 ends it."""
        self._set(seconds_on_the_way=seconds)

    def cut_after(self, n_bytes: int, direction: Direction = TO_SERVER, only: bytes = b"") -> None:
        """Reset the connection on which the n-th byte from now has gone this way, once."""
        self._set(_cut=_Cut(n_bytes, direction, only))

    def reset(self, only: bytes = b"") -> None:
        """Reset the connections there are, both sides."""

        async def reset() -> None:
            for link in [each for each in self._links if only in each.opening]:
                await link.end()

        self._order(reset())

    def refuse(self) -> None:
        """Refuse new connections; those there are stay."""
        self._order(self._stop_listening())

    def accept(self) -> None:
        """Take new connections again, on the same port."""

        async def accept() -> None:
            if self._listening is None:
                family = socket.AF_INET6 if ":" in self._listens_on else socket.AF_INET
                place = (self._listens_on, self.port)
                listener = socket.create_server(place, family=family, backlog=128)
                self._listening = asyncio.create_task(self._listen(listener))

        self._order(accept())

    def close(self) -> None:
        """End everything. May be called twice."""
        if not self._thread.is_alive():
            return

        async def close() -> None:
            await self._stop_listening()
            for link in list(self._links):
                await link.end()

        self._order(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set(self, **values: object) -> None:
        async def set_all() -> None:
            for name, value in values.items():
                setattr(self, name, value)

        self._order(set_all())

    def _order(self, action: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(_ORDER_SECONDS)

    # The proxy's thread

    async def _listen(self, listener: socket.socket) -> None:
        with listener:
            listener.setblocking(False)
            while True:
                client, _ = await self._loop.sock_accept(listener)
                try:
                    while self._stalled_only == b"":
                        await self._resumed.wait()
                except asyncio.CancelledError:
                    _reset(client)
                    raise
                self.connections += 1
                try:
                    # Blocking: the servers of tests are on this machine, answer or refuse at once.
                    server = socket.create_connection(self.destination(), _CONNECT_SECONDS)
                except OSError:
                    _reset(client)
                else:
                    self._links.add(_Link(self, client, server))

    async def _stop_listening(self) -> None:
        if self._listening is not None:
            await _end(self._listening)
            self._listening = None

    async def pass_on(self, link: _Link, direction: Direction, data: bytes) -> bool:
        """Forward what is due; return whether the connection is cut: then nothing goes back."""
        while self._stalled_only is not None and self._stalled_only in link.opening:
            await self._resumed.wait()
        if link.is_cut:
            return True
        cut = self._cut
        if cut and (cut.direction is not direction or cut.only not in link.opening):
            cut = None
        if cut:
            data = data[: cut.left]
            cut.left -= len(data)
            if not cut.left:
                self._cut = None
                self.cuts += 1
                link.is_cut = True
        self.bytes[direction] += len(data)
        self.pieces[direction] += 1
        await self._loop.sock_sendall(link.ends[direction], data)
        return link.is_cut

    def forget(self, link: _Link) -> None:
        """Count a connection no more, which has ended."""
        self._links.discard(link)


class _Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.opening = b""
        """What the client said first: it tells connections apart."""
        self.is_cut = False
        self.ends = {TO_CLIENT: client, TO_SERVER: server}
        """By the direction in which bytes go to them."""
        self._proxy = proxy
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.create_task(self._serve())

    async def end(self) -> None:
        """End the connection with a reset to both sides."""
        await _end(self._task)

    async def _serve(self) -> None:
        orderly = False
        pumps = [asyncio.ensure_future(each) for each in self._pumps()]
        try:
            for pump in asyncio.as_completed(pumps):
                if await pump:
                    break
            else:
                orderly = True
        except OSError:  # one side is gone, and the other shall know
            pass
        finally:
            for task in pumps:
                await _end(task)
            for end in self.ends.values():
                end.close() if orderly else _reset(end)
            self._proxy.forget(self)

    def _pumps(self) -> Iterator[Coroutine[Any, Any, bool]]:
        for direction, source in ((TO_SERVER, TO_CLIENT), (TO_CLIENT, TO_SERVER)):
            arrived: Arrived = asyncio.Queue(_ON_THE_WAY)
            yield self._read(arrived, self.ends[source], direction)
            yield self._write(arrived, direction)

    async def _read(self, arrived: Arrived, source: socket.socket, direction: Direction) -> bool:
        loop, data = asyncio.get_running_loop(), b"."
        while data:
            data = await loop.sock_recv(source, _CHUNK)
            if direction is TO_SERVER and len(self.opening) < _OPENING_BYTES:
                self.opening += data
            await arrived.put((loop.time() + self._proxy.seconds_on_the_way, data))
        return False

    async def _write(self, arrived: Arrived, direction: Direction) -> bool:
        """Pass all on, and the end as well; return whether the connection is to be cut."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await arrived.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                self.ends[direction].shutdown(socket.SHUT_WR)
                return False
            if await self._proxy.pass_on(self, direction, data):
                return True


STATUSES = (
    "200 OK", "400 Bad Request", "403 Forbidden", "407 Proxy Authentication Required",
    "421 Misdirected Request", "502 Bad Gateway",
)  # fmt: skip
_BODY = b"<html><body><h1>This page is not the provider's</h1></body></html>\n"


class Middlebox(Proxy):
    """A proxy that keeps HTTP requests to itself while it has a page to show."""

    def __init__(self, url: str) -> None:
        self._page: bytes | None = None
        self._kept: WeakSet[_Link] = WeakSet()
        super().__init__(url)

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
                await self._loop.sock_sendall(link.ends[TO_CLIENT], self._page)
        if direction is TO_SERVER and link in self._kept:
            return False
        return await super().pass_on(link, direction, data)


ProxyMaker = Callable[[str], Proxy]
"""Makes proxies in front of the servers that URLs name; they end with the test."""


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel a task and return when it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, OSError):
        await task


def _reset(connection: socket.socket) -> None:
    """Close a socket so that its peer gets a reset instead of an end: lingering for 0 s does it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
