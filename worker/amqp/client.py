"""A person's client: publish requests one by one and wait for their results. It blocks.

One thread at a time. Each publication waits for its confirm: 1,500 a second at best.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pika import exceptions

from worker.amqp.broker_errors import BrokerUnavailable, Unroutable, mapped
from worker.amqp.declare import connected
from worker.amqp.properties import as_text, written_properties
from worker.contract.names import REQUESTS, RESULTS
from worker.core.delivery import Publication

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

# The request's routing key: the queue is bound with `#`, so any will do; this one says who it was.
_ROUTING_KEY = "submit"


@dataclass(frozen=True, slots=True, repr=False)
class ResultMessage:
    """One result event as it came."""

    body: bytes
    message_id: str | None
    correlation_id: str | None


class RequestClient:
    """A connection, and a queue of its own for the results where `results_key` is given.

    Use it as a context manager; entering raises InvalidUrl, BrokerUnavailable, AccessRefused, and
    NotProvisioned where there is no exchange to bind the queue to.
    """

    def __init__(self, url: str, results_key: str | None = None) -> None:
        self._url = url
        self._results_key = results_key
        self._channel: Any = None
        self._queue: str | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack, _mapping():
            connection = stack.enter_context(connected(self._url, "submit"))
            self._channel = connection.channel()
            self._channel.confirm_delivery()
            if self._results_key is not None:
                # Ours alone and gone with us; bound before the first request leaves.
                declared = self._channel.queue_declare("", exclusive=True, auto_delete=True)
                self._queue = declared.method.queue
                self._channel.queue_bind(self._queue, RESULTS, self._results_key)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def publish(
        self,
        body: bytes,
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> None:
        """Publish one request; when this returns, the broker has it safe.

        Raises BrokerUnavailable (then nobody knows; the same again is harmless), NotProvisioned
        without the exchange, and Unroutable where no queue is bound to it.
        """
        request = Publication(
            REQUESTS,
            _ROUTING_KEY,
            body,
            message_id=message_id,
            correlation_id=correlation_id,
            reply_to=reply_to,
        )
        with _mapping():
            self._channel.basic_publish(
                REQUESTS, _ROUTING_KEY, body, written_properties(request), mandatory=True
            )

    def results(self, timeout: float) -> Iterator[ResultMessage]:
        """Yield results as they come, until none has come for `timeout` seconds.

        Raises BrokerUnavailable. May be called again, and goes on where it was.
        """
        if self._queue is None:
            raise ValueError("results need a results_key")
        with _mapping():
            arrivals = self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=timeout)
            for _, properties, body in arrivals:
                if body is None:
                    return
                yield ResultMessage(
                    body, as_text(properties.message_id), as_text(properties.correlation_id)
                )


@contextmanager
def _mapping() -> Iterator[None]:
    try:
        yield
    except exceptions.UnroutableError:
        raise Unroutable(f"no queue is bound to the exchange {REQUESTS}") from None
    except exceptions.NackError:
        raise BrokerUnavailable("the broker could not store the request") from None
    except exceptions.AMQPError as error:
        raise mapped(error) from error
