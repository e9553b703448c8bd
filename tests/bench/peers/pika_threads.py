"""pika and a pool of threads, by hand.

As pika's documentation has it: an asynchronous connection (`SelectConnection`) on a thread of its
own, the only one that touches pika, and `add_callback_threadsafe` for the others; confirms by
callback, as in its example of an asynchronous publisher. A blocking channel would wait for each
confirm before the next publication. A thread of the pool does the job and hands the event over;
when the broker confirms the event, its message is acknowledged.

A lost connection ends the process with exit code 1: nothing is lost, a supervisor restarts it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pika

from tests.bench.peers.blocking import Job
from tests.bench.peers.common import RESULTS, Event, InvalidRequest, Settings
from tests.bench.peers.queues import PEERS, QUORUM

QUEUE = PEERS["pika_threads"].queue

_log = logging.getLogger("peer.pika")


class Broker:
    """The connection's thread. Its methods run there, but for `run`'s caller and `soon`."""

    def __init__(self, settings: Settings, receive: Callable[[int, bytes], object]) -> None:
        self._prefetch = settings.prefetch
        self._receive = receive
        self._channel: Any = None
        self._tag = ""
        self._published = 0
        self._unconfirmed: dict[int, int] = {}  # publication's number -> delivery's tag
        self._finishing = False
        self.failed = False
        self._connection = pika.SelectConnection(
            pika.URLParameters(settings.amqp_url),
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
        )

    def run(self) -> None:
        """Serve the connection until it is closed."""
        self._connection.ioloop.start()

    def soon(self, action: Callable[[], object]) -> None:
        """Have the connection's thread do something; any thread may."""
        self._connection.ioloop.add_callback_threadsafe(action)

    def publish(self, delivery: int, event: Event) -> None:
        """Publish an event; its message is acknowledged when it is confirmed."""
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=event.request_id
        )
        self._channel.basic_publish(RESULTS, event.routing_key, event.body, properties)
        self._published += 1
        self._unconfirmed[self._published] = delivery

    def refuse(self, delivery: int, *, requeue: bool) -> None:
        """Hand a message back, or drop it."""
        self._channel.basic_nack(delivery, requeue=requeue)

    def cancel(self) -> None:
        """Consume no more."""
        self._channel.basic_cancel(self._tag)

    def finish(self) -> None:
        """Close when all is confirmed."""
        self._finishing = True
        if not self._unconfirmed:
            self._connection.close()

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.confirm_delivery(self._on_confirm)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.queue_declare(QUEUE, durable=True, arguments=QUORUM, callback=self._consume)

    def _consume(self, declared: Any) -> None:
        self._tag = self._channel.basic_consume(QUEUE, self._on_message)

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._receive(method.delivery_tag, body)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        last = method.delivery_tag
        first = next(iter(self._unconfirmed)) if method.multiple else last
        good = isinstance(method, pika.spec.Basic.Ack)
        for number in range(first, last + 1):
            delivery = self._unconfirmed.pop(number, None)
            if delivery is None:
                continue
            if good:
                self._channel.basic_ack(delivery)
            else:
                self._channel.basic_nack(delivery, requeue=True)
        if self._finishing:
            self.finish()

    def _on_channel_closed(self, channel: Any, reason: BaseException) -> None:
        if not self._connection.is_closing and not self._connection.is_closed:
            _log.error("channel closed: %s", reason)
            self.failed = True
            self._connection.close()

    def _on_closed(self, connection: Any, reason: BaseException) -> None:
        if not self._finishing:
            _log.error("connection closed: %s", reason)
            self.failed = True
        self._connection.ioloop.stop()


class Worker:
    """The pool of threads between the deliveries and the events."""

    def __init__(self, settings: Settings) -> None:
        self._job = Job(settings)
        self._threads = ThreadPoolExecutor(settings.concurrency)
        self._stopping = False
        self._broker = Broker(settings, self._receive)

    def serve(self) -> int:
        """Run until SIGTERM or a lost connection; return the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        connection = threading.Thread(target=self._serve_connection, name="connection")
        connection.start()
        signal.sigwait({signal.SIGTERM})
        self._stopping = True
        if not self._broker.failed:
            self._broker.soon(self._broker.cancel)
        self._threads.shutdown(wait=True)
        if not self._broker.failed:
            self._broker.soon(self._broker.finish)
        connection.join()
        self._job.close()
        return int(self._broker.failed)

    def _serve_connection(self) -> None:
        try:
            self._broker.run()
        finally:
            if not self._stopping:
                os.kill(os.getpid(), signal.SIGTERM)

    def _receive(self, delivery: int, body: bytes) -> None:
        self._threads.submit(self._work, delivery, body)

    def _work(self, delivery: int, body: bytes) -> None:
        if self._stopping:
            return  # the broker takes it back when the connection closes
        try:
            event = self._job.run(body)
        except InvalidRequest as refusal:
            _log.warning("rejected: %s", refusal)
            self._broker.soon(partial(self._broker.refuse, delivery, requeue=False))
        except Exception:  # noqa: BLE001 - whatever it was, the message goes back
            _log.exception("failed")
            self._broker.soon(partial(self._broker.refuse, delivery, requeue=True))
        else:
            _log.info("verified %s: %s", event.request_id, event.routing_key)
            self._broker.soon(partial(self._broker.publish, delivery, event))


def main() -> int:
    """Run the worker."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.WARNING)
    return Worker(Settings.from_environment()).serve()


if __name__ == "__main__":
    sys.exit(main())
