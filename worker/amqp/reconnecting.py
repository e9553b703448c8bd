"""One connection that comes back by itself. The amqp thread only."""

import random
from collections.abc import Callable
from typing import Any, Protocol

from structlog import get_logger

from worker.amqp.broker_errors import mapped
from worker.amqp.parameters import parameters, place
from worker.amqp.pika_connection import IoServices, PikaConnection

CONNECTED = "amqp.connected"
CONNECTION_LOST = "amqp.connection_lost"
NO_ANSWER = "amqp.no_answer"

# Opening a channel and declaring everything on it takes 0.1 s, with a slow disk a few; a quorum
# queue that has lost its leader holds a declaration up longer, and then trying again is as good.
ANSWER_SECONDS = 30.0

# A restarted broker answers after 4 to 15 s. Nobody waits longer than 10 s for a worker to notice
# one that is back, and a hundred replicas trying every 5 s are nothing to it.
FIRST_SECONDS = 1.0
LIMIT_SECONDS = 10.0

_log = get_logger(__name__)


class Backoff:
    """Has something tried again later: after up to 1, 2, 4, 8, 10 s, so that replicas spread."""

    def __init__(self, ioloop: Any, jitter: Callable[[], float] = random.random) -> None:
        self._ioloop = ioloop
        self._jitter = jitter
        self._bound = FIRST_SECONDS
        self._timer: Any = None

    @property
    def is_waiting(self) -> bool:
        """Whether something will be tried."""
        return self._timer is not None

    def later(self, action: Callable[[], None]) -> float:
        """Try this after a wait, and return its seconds; the next one may be twice as long."""
        bound, self._bound = self._bound, min(2 * self._bound, LIMIT_SECONDS)

        def due() -> None:
            self._timer = None
            action()

        wait = bound * self._jitter()
        self._timer = self._ioloop.call_later(wait, due)
        return wait

    def stop(self) -> None:
        """Do not try it."""
        if self._timer is not None:
            self._ioloop.remove_timeout(self._timer)
            self._timer = None

    def reset(self) -> None:
        """Begin again with short waits: it worked."""
        self._bound = FIRST_SECONDS


class Owner(Protocol):
    """Who uses the connection."""

    def connected(self, pika: Any) -> None:
        """Use this fresh connection."""

    def disconnected(self) -> None:
        """Forget the connection: it is gone, and so are its channels (told one by one before)."""


class ReconnectingConnection:
    """Tries for ever, with a log line for each failure and one when it is there."""

    def __init__(self, url: str, role: str, ioloop: Any, owner: Owner) -> None:
        self.role = role
        self.connected = False
        self.problem: str | None = None
        """Why the last try failed, or the connection was lost; None while it is there."""
        self._parameters = parameters(url, role)
        self._place = place(self._parameters)
        self._ioloop = ioloop
        self._owner = owner
        self._backoff = Backoff(ioloop)
        self._pika: Any = None
        self._deadline: Any = None
        self._on_closed: Callable[[], None] | None = None

    def open(self) -> None:
        """Begin; `owner.connected` follows, whenever that is."""
        self._pika = PikaConnection(
            self._parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._lost,
            on_close_callback=self._lost,
            custom_ioloop=IoServices(self._ioloop),
        )

    def expect_answer(self) -> None:
        """Cut the connection unless `answered` is called in time.

        Heartbeats go on while one of the broker's channels hangs: on 3.10 a declaration hung for
        good after somebody had deleted a queue at the same moment.
        """
        self.answered()
        self._deadline = self._ioloop.call_later(ANSWER_SECONDS, self._not_answered)

    def answered(self) -> None:
        """Expect nothing any more."""
        if self._deadline is not None:
            self._ioloop.remove_timeout(self._deadline)
            self._deadline = None

    def close(self, on_closed: Callable[[], None]) -> None:
        """End in an orderly way, channels first, and come back no more."""
        self._on_closed = on_closed
        self.answered()
        self._backoff.stop()
        if self._pika is None:
            on_closed()
        elif not (self._pika.is_closing or self._pika.is_closed):
            self._pika.close()

    def cut(self) -> None:
        """End at once: the broker did not answer to `close`."""
        if self._pika is not None and self.connected:
            self._pika.cut()

    def _not_answered(self) -> None:
        self._deadline = None
        _log.warning(NO_ANSWER, role=self.role, broker=self._place)
        self.cut()

    def _opened(self, pika: Any) -> None:
        self.connected = True
        self.problem = None
        self._backoff.reset()
        _log.info(CONNECTED, role=self.role, broker=self._place)
        self._owner.connected(pika)

    def _lost(self, _pika: Any, reason: BaseException) -> None:
        was_connected, self.connected, self._pika = self.connected, False, None
        self.answered()
        if was_connected:
            self._owner.disconnected()
        if self._on_closed is not None:
            self._on_closed()
            return
        wait = self._backoff.later(self.open)
        error = mapped(reason)
        self.problem = str(error)
        _log.warning(
            CONNECTION_LOST,
            role=self.role,
            broker=self._place,
            kind=type(error).__name__,
            problem=self.problem,
            retry_in=round(wait, 2),
        )
