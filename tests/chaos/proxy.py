"""A TCP proxy that is as bad as the worst network, when a test tells it to."""

from __future__ import annotations

import select
import socket
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from local_ports import LOOPBACK, free_ports
from tests.chaos.tunnel import Cut, Direction, Faults, Pipe, Tunnel, reset

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

TO_SERVER, TO_CLIENT = Direction.TO_SERVER, Direction.TO_CLIENT
# An order waits for one pass of the loop, of which the slowest step is a connection to a server.
_ORDER_SECONDS = 10.0
_CONNECT_SECONDS = 5.0


class Proxy:
    """Forwards TCP from a free port of 127.0.0.1 to a server, and breaks it on demand.

        client ──────> proxy.port ══ TO_SERVER ══> server      stall(), resume()  nothing moves
               <──────            ══ TO_CLIENT ══              delay(seconds)     all moves later
                   │                   │                       cut_after(n)       n bytes, a reset
                   └ refuse(): closed  └ reset(): both sides   accept()           listens again

    Each order holds when its method returns; any thread may give it, at any time. `only` limits an
    order to connections whose client has sent these bytes when it began: an AMQP client names
    itself there, so `only=b"publish"` means the publishing connections of a worker.
    """

    def __init__(self, host: str, port: int) -> None:
        self.connections = 0
        """Accepted so far."""
        self.resets = 0
        """Connections that were ended by `reset` or `cut_after`."""
        self.cuts = 0
        """Cuts that have happened."""
        self.bytes = dict.fromkeys(Direction, 0)
        """Forwarded so far, each way."""
        self.pieces = dict.fromkeys(Direction, 0)
        """Pieces in which they went: at most one for each of the sender's sends."""
        self._server = (host, port)
        self._faults = Faults()
        self._tunnels: list[Tunnel] = []
        # Not an ephemeral port: one day a client that dials a refused one connects to itself.
        (self.port,) = free_ports(1)
        self._listener: socket.socket | None = _listen(self.port)
        self._orders: SimpleQueue[tuple[Callable[[], None], threading.Event]] = SimpleQueue()
        self._bell, self._bell_rope = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return len(self._tunnels)

    def through(self, url: str) -> str:
        """Return this URL with the proxy in place of its server."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{LOOPBACK}:{self.port}"))

    # Orders

    def stall(self, only: bytes = b"") -> None:
        """Take bytes of nobody, forward nothing, keep every connection open."""
        self._order(lambda: setattr(self._faults, "stalled_only", only))

    def resume(self) -> None:
        """End a stall: what was on its way arrives."""
        self._order(lambda: setattr(self._faults, "stalled_only", None))

    def delay(self, seconds: float, only: bytes = b"") -> None:
        """Forward all that comes from now on so many seconds later; 0 ends it."""

        def set_delay() -> None:
            self._faults.delay, self._faults.delay_only = seconds, only

        self._order(set_delay)

    def cut_after(self, n_bytes: int, direction: Direction = TO_SERVER, only: bytes = b"") -> None:
        """Reset the connection on which the n-th byte from now has gone this way, once."""
        cut = Cut(n_bytes, direction, only)
        self._order(lambda: setattr(self._faults, "cut", cut))

    def reset(self, only: bytes = b"") -> None:
        """Reset the connections there are, both sides."""

        def reset_all() -> None:
            for tunnel in [each for each in self._tunnels if each.is_meant(only)]:
                self._reset(tunnel)

        self._order(reset_all)

    def refuse(self) -> None:
        """Refuse new connections; those there are stay."""

        def close_listener() -> None:
            if self._listener is not None:
                self._listener.close()
                self._listener = None

        self._order(close_listener)

    def accept(self) -> None:
        """Take new connections again, on the same port."""

        def open_listener() -> None:
            if self._listener is None:
                self._listener = _listen(self.port)

        self._order(open_listener)

    def close(self) -> None:
        """End everything. May be called twice."""
        if self._thread.is_alive():
            self._order(lambda: setattr(self, "_closing", True))
            self._thread.join()
        self._bell.close()
        self._bell_rope.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((action, done))
        self._bell_rope.send(b"!")
        if not done.wait(_ORDER_SECONDS):
            raise TimeoutError("the proxy's thread does not answer")

    # The proxy's thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._pass()
        finally:
            for tunnel in self._tunnels:
                tunnel.close()
            self._tunnels.clear()
            if self._listener is not None:
                self._listener.close()

    def _pass(self) -> None:
        """Wait until something can be done, and do it."""
        ready = self._wait()
        if self._bell.fileno() in ready:
            self._bell.recv(4_096)
        while not self._orders.empty():
            action, done = self._orders.get()
            action()
            done.set()
        if self._listener is not None and self._listener.fileno() in ready:
            self._take_connection(self._listener)
        for tunnel in list(self._tunnels):
            if not self._faults.stall(tunnel):
                self._serve(tunnel, ready)

    def _wait(self) -> set[int]:
        poll, now = select.poll(), time.monotonic()
        poll.register(self._bell, select.POLLIN)
        if self._listener is not None and self._faults.stalled_only != b"":
            poll.register(self._listener, select.POLLIN)
        dues = []
        for tunnel in self._tunnels:
            if not self._faults.stall(tunnel):
                for end, mask in tunnel.interest(now):
                    poll.register(end, mask)
                dues += [pipe.due for pipe in tunnel.pipes if pipe.due is not None]
        coming = [due - now for due in dues if due > now]
        timeout = None if not coming else 1000 * min(coming) + 1
        return {descriptor for descriptor, _ in poll.poll(timeout)}

    def _take_connection(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        self.connections += 1
        try:
            # Blocking: the servers of tests are on this machine and answer or refuse at once.
            server = socket.create_connection(self._server, _CONNECT_SECONDS)
        except OSError:
            reset(client)
        else:
            self._tunnels.append(Tunnel(client, server))

    def _serve(self, tunnel: Tunnel, ready: set[int]) -> None:
        try:
            for pipe in tunnel.pipes:
                if pipe.wants_to_read and pipe.source.fileno() in ready:
                    due = time.monotonic() + self._faults.delay_of(tunnel)
                    tunnel.remember(pipe, pipe.read(due))
                if self._forward(tunnel, pipe):
                    self._reset(tunnel)
                    return
                pipe.pass_on_the_end()
        except OSError:  # one side is gone, and the other shall know
            tunnel.reset()
            self._tunnels.remove(tunnel)
            return
        if tunnel.done:
            tunnel.close()
            self._tunnels.remove(tunnel)

    def _forward(self, tunnel: Tunnel, pipe: Pipe) -> bool:
        """Pass on what is due; tell whether the connection is to be cut now."""
        cut = self._faults.cut_of(tunnel, pipe.direction)
        sent = pipe.write(time.monotonic(), cut.left if cut else None)
        self.bytes[pipe.direction] += sent
        self.pieces[pipe.direction] += sent > 0
        if cut is None:
            return False
        cut.left -= sent
        if cut.left > 0 or not (sent or pipe.due):
            return False
        self._faults.cut = None
        self.cuts += 1
        return True

    def _reset(self, tunnel: Tunnel) -> None:
        tunnel.reset()
        self._tunnels.remove(tunnel)
        self.resets += 1


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(128)
    return listener
