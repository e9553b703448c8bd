"""How long a call may take, and how long nothing may come.

Neither requests nor urllib3 has a total deadline, and a dripping server never times out. The
sockets have no time limit of their own: Python would ask the kernel before each send and receive
whether it can be done, and each time that a thread gives up the interpreter's lock it has to wait
for the others that want it.

A call is armed for as long as it takes, on the thread that makes it. The connection hands it the
socket just before the first byte leaves, and it is taken away before the socket is closed, whose
number the kernel gives to the next that is opened, or another call can have it. In between the
reaper's own thread shuts it down when its time is over.
"""

import socket
import threading
from contextlib import suppress
from math import inf
from time import monotonic


class DeadlinePassed(TimeoutError):
    """The call may not send any more: its time is over."""


class ArmedCall:
    """One call: what its own thread and the reaper both know of it.

    `sent` says whether a byte of the request may have left in the current try; `ended` that the
    reaper shut the socket down, so whatever was read may be incomplete.
    """

    __slots__ = ("_lock", "_silence", "_sock", "deadline", "ended", "ends_at", "sent")

    def __init__(self, deadline: float, silence: float = inf) -> None:
        """Take the deadline on the monotonic clock, and the longest silence in seconds."""
        self.deadline = self.ends_at = deadline
        self._silence = silence
        self.sent = False
        self.ended = False
        self._sock: socket.socket | None = None
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """Return the seconds left, above zero; raise `DeadlinePassed` where there are none."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise DeadlinePassed("no time is left for this call")
        return left

    def send_on(self, sock: socket.socket) -> None:
        """Note that bytes are about to leave; raise `DeadlinePassed` where none may."""
        with self._lock:
            self.remaining()
            self.await_byte()
            self._sock = sock
            self.sent = True

    def await_byte(self) -> None:
        """Note that a silence begins: its end is the call's, or the deadline before it."""
        self.ends_at = min(self.deadline, monotonic() + self._silence)

    def let_go(self) -> None:
        """Give the socket up: once this returns, the reaper does not touch it."""
        with self._lock:
            self._sock = None

    def end_if_late(self, now: float) -> None:
        """Shut the socket down if the call's time is over; the reading thread wakes with EOF."""
        if now < self.ends_at:
            return
        with self._lock:
            # Meanwhile a byte may have come, or the next try have begun.
            if now < self.ends_at or self._sock is None:
                return
            self.ended = True
            sock, self._sock = self._sock, None
            # The plain method also for TLS: SSLSocket.shutdown would drop the TLS layer under
            # the reading thread, which then would read ciphertext as if it were an answer.
            with suppress(OSError):  # closed already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def end(self) -> None:
        """End it now: while it still connects nothing leaves any more."""
        self.deadline = -inf
        self.end_if_late(inf)


class Reaper:
    """Ends calls whose time is over, from construction until `stop`, on a thread of its own.

    Arming is one dictionary slot, keyed by the thread: a thread makes one call at a time. No call
    has less than `least` seconds, nor has a silence, so for so long at least nobody need look.
    """

    # Calls end at most this much late. A sweep over 256 calls takes 20 µs, so 10 a second are
    # nothing; lease and grace reckon with seconds.
    PERIOD = 0.1

    def __init__(self, least: float) -> None:
        self._least = least
        self._calls: dict[int, ArmedCall] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="provider-reaper", daemon=True)
        self._thread.start()

    def arm(self, call: ArmedCall) -> None:
        """Watch the call that this thread is about to make."""
        self._calls[threading.get_ident()] = call
        if not self._thread.is_alive():
            self.disarm()
            raise RuntimeError("the reaper has stopped: no call has a deadline any more")

    def disarm(self) -> None:
        """Forget this thread's call."""
        self._calls.pop(threading.get_ident()).let_go()

    def current(self) -> ArmedCall:
        """Return this thread's call; there must be one."""
        return self._calls[threading.get_ident()]

    def run_once(self, now: float) -> float:
        """End every call whose end is before `now`; return the seconds until the next look.

        One that is late and has no socket yet may be about to send.
        """
        wait = self._least
        for call in list(self._calls.values()):
            call.end_if_late(now)
            if not call.ended:
                wait = min(wait, call.ends_at - now)
        return max(wait, self.PERIOD)

    def stop(self) -> None:
        """End every call under way, watch no more; returns when the thread has ended."""
        self._stopped.set()
        self._thread.join()
        for call in list(self._calls.values()):
            call.end()

    def _run(self) -> None:
        wait = self._least
        while not self._stopped.wait(wait):
            wait = self.run_once(monotonic())
