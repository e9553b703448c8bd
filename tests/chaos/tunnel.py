"""One TCP connection through the proxy: two sockets, and the bytes on their way between them."""

from __future__ import annotations

import select
import socket
import struct
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65_536
# As much as a network keeps on its way; then the sender feels that nothing is taken.
_ON_THE_WAY = 4 * _CHUNK
# AMQP's client says who it is with its first two frames, far within this.
_OPENING_BYTES = 4_096


class Direction(StrEnum):
    """Which way bytes go; the client is the one that connected to the proxy."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


@dataclass(slots=True)
class Cut:
    """A reset to come, when `left` more bytes have gone this way on the connections meant."""

    left: int
    direction: Direction
    only: bytes


@dataclass(slots=True)
class Faults:
    """What the network does to connections now; `…_only` says to which."""

    stalled_only: bytes | None = None
    delay: float = 0.0
    delay_only: bytes = b""
    cut: Cut | None = None

    def stall(self, tunnel: Tunnel) -> bool:
        """Tell whether nothing moves on this connection."""
        return self.stalled_only is not None and tunnel.is_meant(self.stalled_only)

    def delay_of(self, tunnel: Tunnel) -> float:
        """Return how many seconds a byte takes on this connection."""
        return self.delay if tunnel.is_meant(self.delay_only) else 0.0

    def cut_of(self, tunnel: Tunnel, direction: Direction) -> Cut | None:
        """Return the cut that this connection and direction work towards."""
        cut = self.cut
        return cut if cut and cut.direction is direction and tunnel.is_meant(cut.only) else None


class Pipe:
    """One direction of a connection."""

    def __init__(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        self.direction = direction
        self.source = source
        self.target = target
        self.ended = False
        """The source has said that nothing more comes."""
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._end_passed_on = False

    @property
    def wants_to_read(self) -> bool:
        """Whether there is room for more."""
        return not self.ended and self._size < _ON_THE_WAY

    @property
    def due(self) -> float | None:
        """When the next bytes may go on, on the monotonic clock."""
        return self._waiting[0][0] if self._waiting else None

    @property
    def done(self) -> bool:
        """Whether everything has gone through, the end as well."""
        return self._end_passed_on

    def read(self, due: float) -> bytes:
        """Take what has come, to go on when it is `due`. Raises OSError."""
        try:
            data = self.source.recv(_CHUNK)
        except BlockingIOError:
            return b""
        if data:
            self._waiting.append((due, data))
            self._size += len(data)
        else:
            self.ended = True
        return data

    def write(self, now: float, limit: int | None) -> int:
        """Pass on what is due, up to `limit` bytes; return how many. Raises OSError."""
        written = 0
        while self._waiting and self._waiting[0][0] <= now and written != limit:
            due, data = self._waiting.popleft()
            piece = data if limit is None else data[: limit - written]
            try:
                sent = self.target.send(piece)
            except BlockingIOError:
                sent = 0
            written += sent
            self._size -= sent
            if sent < len(data):
                self._waiting.appendleft((due, data[sent:]))
            if sent < len(piece):
                break
        return written

    def pass_on_the_end(self) -> None:
        """Tell the target that nothing more comes, once it has all that came. Raises OSError."""
        if self.ended and not self._waiting and not self._end_passed_on:
            self._end_passed_on = True
            self.target.shutdown(socket.SHUT_WR)


class Tunnel:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.pipes = (
            Pipe(Direction.TO_SERVER, client, server),
            Pipe(Direction.TO_CLIENT, server, client),
        )
        self._opening = b""
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def is_meant(self, only: bytes) -> bool:
        """Tell whether the client has said these words when it began; no words mean everyone."""
        return only in self._opening

    def remember(self, pipe: Pipe, data: bytes) -> None:
        """Keep what the client says first: it tells connections apart."""
        if pipe.direction is Direction.TO_SERVER and len(self._opening) < _OPENING_BYTES:
            self._opening += data

    def interest(self, now: float) -> Iterator[tuple[socket.socket, int]]:
        """Yield each socket that we wait for, with poll's mask."""
        there, back = self.pipes
        for end, incoming, outgoing in ((self.client, there, back), (self.server, back, there)):
            reads = select.POLLIN if incoming.wants_to_read else 0
            writes = select.POLLOUT if outgoing.due is not None and outgoing.due <= now else 0
            if reads or writes:
                yield end, reads | writes

    @property
    def done(self) -> bool:
        """Whether both sides have ended in an orderly way."""
        return all(pipe.done for pipe in self.pipes)

    def close(self) -> None:
        """End the connection in an orderly way."""
        self.client.close()
        self.server.close()

    def reset(self) -> None:
        """End the connection with a TCP reset to both sides."""
        for end in (self.client, self.server):
            reset(end)


def reset(connection: socket.socket) -> None:
    """Close a socket so that its peer gets a reset instead of an end: lingering for 0 s does it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
