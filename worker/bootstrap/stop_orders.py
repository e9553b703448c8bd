"""Why the process stops: a signal, or a thread that failed; and its end when stopping hangs."""

import os
import signal
import sys
import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NoReturn

import structlog

from worker.telemetry.logs import LogEvent, threads

# After the last record: confirms and acknowledgements are milliseconds, a slow broker seconds.
DRAIN_SECONDS = 10.0
THREAD_FAILED = "a thread failed"


class StopOrders:
    """The orders to stop, in their order. `grace` is in seconds."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        # `SimpleQueue.put` may be called by a signal handler; an Event's lock may not.
        self._orders: SimpleQueue[str] = SimpleQueue()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as orders; on the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(
                number, lambda number, _frame: self._orders.put(signal.Signals(number).name)
            )

    def thread_failed(self) -> None:
        """Order a stop because a thread met what nobody expected; from any thread."""
        self._orders.put(THREAD_FAILED)

    def wait(self) -> str:
        """Return the first order.

        Python's handler runs on this thread, but the kernel may give the signal to another one: in
        a wait without an end this thread would not learn of it.
        """
        while True:
            try:
                return self._orders.get(timeout=1.0)
            except Empty:
                continue

    def watch_the_end(self) -> None:
        """From now on leave at a second order, or when the grace is over."""
        for watch in (self._leave_at_second_order, self._leave_when_over):
            Thread(target=watch, daemon=True).start()

    def _leave_at_second_order(self) -> None:
        """Leave at once when told twice: nothing is lost, the broker delivers again.

        A thread that fails while we stop is no second order: the others finish what is paid for.
        """
        while (reason := self._orders.get()) == THREAD_FAILED:
            continue
        _leave(f"{reason} again")

    def _leave_when_over(self) -> None:
        """Leave when the grace and what comes after it are over, whatever still hangs."""
        time.sleep(self._grace + DRAIN_SECONDS)
        _leave("the grace is over", threads=threads())


def _leave(reason: str, **facts: object) -> NoReturn:
    structlog.get_logger().warning(LogEvent.STOPPED, clean=False, reason=reason, **facts)
    sys.stderr.flush()
    os._exit(1)
