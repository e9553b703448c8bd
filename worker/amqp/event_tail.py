"""What `tail` does: take copies of result events as they are published. It blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.amqp.blocking import opened
from worker.contract.names import RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of a reader that does not keep up the oldest copies go: it must not fill the broker.
_KEPT_EVENTS = 10_000
# Enough to keep a terminal busy.
_PREFETCH = 100


def events(url: str, is_listening: Callable[[], None]) -> Iterator[bytes]:
    """Yield the bodies of result events, without an end; `is_listening` is called before them.

    They come from a queue of its own, exclusive and gone with the connection. As long as it is
    there, an event that nobody else is bound for is routed, and so not kept in
    `verification.unrouted`.
    Raises what `opened` raises.
    """
    with opened(url, "tail") as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=_PREFETCH)
        queue = channel.queue_declare(
            "", exclusive=True, auto_delete=True, arguments={"x-max-length": _KEPT_EVENTS}
        ).method.queue
        channel.queue_bind(queue, RESULTS, "#")
        is_listening()
        for method, _properties, body in channel.consume(queue, exclusive=True):
            yield body
            channel.basic_ack(method.delivery_tag)
