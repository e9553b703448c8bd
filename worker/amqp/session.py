"""The broker as the rest of the worker sees it: one thread and one loop.

It has a connection to publish, one to consume, and one more to consume the bulk lane. The methods
of `Session` may be called from any thread. The sink and the callbacks are called on the amqp
thread and must not block.

    session = Session(url, {Lane.LIVE: Intake(256, live_topology(...))}, stop)
    session.start(sink)                 # deliveries come; `settle` them
    session.stop_consuming()            # SIGTERM: no more deliveries
    session.drain(timeout=10)           # after the pipeline has settled what it finishes
    session.close()
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pika.adapters.select_connection import IOLoop
from structlog import get_logger

from worker.amqp.consumer import Consumer, Intake
from worker.amqp.loop import LoopLag, Mailbox
from worker.amqp.pika_connection import CLOSE_SECONDS
from worker.amqp.publisher import BackgroundPublisher
from worker.amqp.settler import Settler
from worker.core.delivery import Publication, Settlement
from worker.core.request import Lane
from worker.ports import DeliverySink
from worker.telemetry.logs import describe

SESSION_FAILED = "amqp.session_failed"
# Once cut, a connection reports in the same pass of the loop.
_CUT_SECONDS = 1.0
# An order waits for one pass of the loop, of which the slowest step is a large body.
_ORDER_SECONDS = 5.0

_log = get_logger(__name__)


class Session:
    """Consumes and publishes for ever; comes back by itself whatever happens to the broker.

    A lane's topology is declared on every new channel; with None it must be there, and its absence
    is logged until it is. Without the bulk lane's, or the right to it, the worker lives on the
    live one. `on_failure` is called on the amqp thread, as its last act, when something unexpected
    ended the session: the process should stop.
    """

    def __init__(
        self, url: str, intakes: Mapping[Lane, Intake], on_failure: Callable[[Exception], None]
    ) -> None:
        self._on_failure = on_failure
        self._ioloop = IOLoop()
        self._mailbox = Mailbox(lambda: self._ioloop.add_callback_threadsafe(self._mailbox.run))
        self.loop_lag = LoopLag(self._ioloop)
        topology = intakes[Lane.LIVE].topology
        self._publisher = BackgroundPublisher(
            url, self._ioloop, topology, lambda groups: self._settler.finish(groups)
        )
        self._consumers = {
            lane: Consumer(url, self._ioloop, lane, intake) for lane, intake in intakes.items()
        }
        self._consumer = self._consumers[Lane.LIVE]
        self._settler = Settler(self._ioloop, self._publisher, self._consumers)
        consumers = self._consumers.values()
        self._users: list[BackgroundPublisher | Consumer] = [self._publisher, *consumers]
        # The interpreter waits for threads that are no daemons; `close` waits as long as it says.
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)
        self._closing = threading.Lock()
        self._is_closing = False
        self._open_connections = len(self._users)

    # For any thread

    @property
    def connected(self) -> bool:
        """Whether the connections are there without which nothing goes on."""
        return self._consumer.connection.connected and self._publisher.connection.connected

    @property
    def consuming(self) -> bool:
        """Whether the broker has confirmed our consumer and not cancelled it since."""
        return self._consumer.consuming

    @property
    def problem(self) -> str | None:
        """Why a connection is not there, or blocked, or the consumer is not; None: nobody knows."""
        consumer, publisher = self._consumer, self._publisher
        lost = consumer.connection.problem or publisher.connection.problem
        return lost or publisher.blocked or consumer.problem

    def consumes(self, lane: Lane) -> bool:
        """Whether the broker delivers a lane now."""
        return lane in self._consumers and self._consumers[lane].consuming

    @property
    def bulk_problem(self) -> str | None:
        """Why the bulk lane is not consumed, since it last was; None where nobody knows."""
        bulk = self._consumers.get(Lane.BULK)
        return None if bulk is None else bulk.connection.problem or bulk.problem

    @property
    def blocked(self) -> bool:
        """Whether the broker takes no publications now: a memory or disk alarm."""
        return self._publisher.blocked is not None

    @property
    def unconfirmed(self) -> int:
        """Settlements and groups of publications that wait for the broker."""
        return self._publisher.unconfirmed

    @property
    def running(self) -> bool:
        """Whether the amqp thread lives."""
        return self._thread.is_alive()

    def start(self, sink: DeliverySink) -> None:
        """Connect and consume into this sink; returns at once. Once only."""
        self._settler.sink = sink
        for consumer in self._consumers.values():
            consumer.sink = sink
        self._thread.start()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Publish, wait for the confirms, acknowledge, tell the sink: in the background."""
        self._mailbox.post(partial(self._settler.settle, settlements))

    def publish(
        self, publications: Sequence[Publication], on_confirmed: Callable[[], None]
    ) -> None:
        """Publish what settles no delivery; `on_confirmed` when all of it is confirmed."""
        self._mailbox.post(partial(self._settler.publish, publications, on_confirmed))

    def pause(self) -> None:
        """Stop taking deliveries for a while; those taken keep their epoch and can be settled."""
        for consumer in self._consumers.values():
            self._mailbox.post(consumer.pause)

    def resume(self, prefetch: int | None = None) -> None:
        """Take deliveries again, so many unacknowledged ones of a lane; None: as at the start."""
        for consumer in self._consumers.values():
            self._mailbox.post(partial(consumer.resume, prefetch))

    def allow_bulk(self, allowed: bool) -> None:
        """Take nothing of the bulk lane from now on, or again what is wanted."""
        if Lane.BULK in self._consumers:
            self._mailbox.post(partial(self._consumers[Lane.BULK].allow, allowed))

    def stop_consuming(self, timeout: float = _ORDER_SECONDS) -> bool:
        """Stop taking deliveries; once this has returned True none reaches the sink any more."""
        stopped = threading.Event()
        self.pause()
        self._mailbox.post(stopped.set)
        return stopped.wait(timeout)

    def drain(self, timeout: float) -> bool:
        """Wait until all that was handed in is confirmed and acknowledged; False: it is not yet."""
        idle = threading.Event()
        self._mailbox.post(partial(self._settler.set_when_idle, idle))
        return idle.wait(timeout)

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End in an orderly way, or after `timeout` seconds in any way; then the thread is gone.

        What is not acknowledged by then is delivered again, to whoever consumes. Twice is fine.
        """
        with self._closing:
            if self._thread.ident is None:
                self._ioloop.close()
            elif self._thread.is_alive():
                self._mailbox.post(partial(self._close, timeout))
                if self._thread is not threading.current_thread():
                    self._thread.join(timeout + 2 * _CUT_SECONDS)

    # For the amqp thread

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            self.loop_lag.beat()
            for user in self._users:
                user.connection.open()
            self._ioloop.start()
        except Exception as error:  # noqa: BLE001  # the thread's top: report, end in order, stop
            failure = error
            _log_failure(error)
            try:  # what still can be closed: the broker then redelivers at once
                self._close_connections(_CUT_SECONDS)
                self._ioloop.start()
            except Exception as again:  # noqa: BLE001  # the same cause; the process ends anyway
                _log_failure(again)
        self._ioloop.close()
        if failure is not None:
            self._on_failure(failure)

    def _close(self, timeout: float) -> None:
        if not self._is_closing:
            self._settler.flush()
            self._close_connections(timeout)

    def _close_connections(self, timeout: float) -> None:
        self._is_closing = True
        self._ioloop.call_later(timeout, self._cut)
        for user in self._users:
            user.close(self._closed)

    def _closed(self) -> None:
        self._open_connections -= 1
        if not self._open_connections:
            self._ioloop.stop()

    def _cut(self) -> None:
        for user in self._users:
            user.connection.cut()
        self._ioloop.call_later(_CUT_SECONDS, self._ioloop.stop)


def _log_failure(error: Exception) -> None:
    """Say what and where, not the error's text: pika's quote values."""
    _log.error(SESSION_FAILED, kind=type(error).__name__, where=describe(error)["where"])
