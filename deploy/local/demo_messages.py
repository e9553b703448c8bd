"""The demonstration's messages, what each must lead to, and the client that exchanges them.

The people are invented and their ID numbers are the sandbox's magic ones. The client is an ordinary
one: whatever it does, a publishing system can do with any AMQP library.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pika

from worker.amqp.blocking import opened
from worker.contract.names import DEAD, REQUESTS, RESULTS
from worker.sandbox.magic import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

# Dead letters are looked at one by one and put back. A queue that holds more than this is
# somebody's incident, and not ours to turn over.
_MOST_DEAD_LETTERS = 500

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Expected:
    """What a message must lead to: the event's fields, the row's where it `has_row`, the bill's."""

    outcome: str
    charged: str = "no"
    calls: int = 0
    charges: int = 0
    error_kind: str | None = None
    has_row: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish, and what it shows."""

    correlation_id: str
    story: str
    body: bytes = field(repr=False)
    expected: Expected
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What came back on the results exchange, `after` seconds since the first publication."""

    after: float
    correlation_id: str
    routing_key: str
    event_id: str
    outcome: str
    charged: str
    calls: int
    error_kind: str | None


# A valid number but for its check digit, which is X.
_WRONG_DIGIT = f"{BY_NAME['match'].id_card[:-1]}0"
_PAST = "2026-01-01T00:00:00Z"


def first_messages(run: str) -> list[Message]:
    """Return the messages that are sent at once; `run` is their source and their ids' prefix."""
    unread = Expected("rejected", error_kind="unreadable", has_row=False)
    return [
        _request(run, "match", "张三", "the data match", Expected("match", "yes", 1, 1)),
        _request(run, "mismatch", "李四", "they do not", Expected("mismatch", "yes", 1, 1)),
        _request(run, "no-record", "王五", "no such number", Expected("no_record", calls=1)),
        _request(
            run,
            "rejected",
            "赵六",
            "a wrong check digit: never sent, free",
            Expected("rejected", error_kind="invalid_request"),
            number=_WRONG_DIGIT,
        ),
        _request(
            run,
            "recovers",
            "孙七",
            "the provider answers 503 once, then a match",
            Expected("match", "yes", 2, 1),
            number=BY_NAME["recovers_after_1"].id_card,
        ),
        _request(
            run,
            "in-doubt",
            "周八",
            "charged and cut off once, then a match, charged again",
            Expected("match", "yes", 2, 2),
            number=BY_NAME["reset_once"].id_card,
        ),
        _request(
            run,
            "expired",
            "吴九",
            "its deadline is over: never sent, free",
            Expected("expired", error_kind="expired"),
            number=BY_NAME["match"].id_card,
            expiresAt=_PAST,
        ),
        Message(f"{run}-unreadable", "no JSON: becomes a dead letter", b"{", unread),
    ]


def second_messages(run: str) -> list[Message]:
    """Return the messages that follow the answer to `match`: both carry its request id."""
    first_id = f"{run}-match"
    again = _request(
        run,
        "repeated",
        "张三",
        "the first one again: answered from its row, to reply_to",
        Expected("match", "yes", 1, has_row=False),
        number=BY_NAME["match"].id_card,
        requestId=first_id,
    )
    conflict = _request(
        run,
        "conflict",
        "郑十",
        "the first one's requestId with another name: refused",
        Expected("conflict", error_kind="conflict", has_row=False),
        number=BY_NAME["match"].id_card,
        requestId=first_id,
    )
    return [replace(again, reply_to=f"{run}.replies"), conflict]


def _request(
    run: str,
    name: str,
    person: str,
    story: str,
    expected: Expected,
    *,
    number: str | None = None,
    **more: str,
) -> Message:
    """Return a request; without a `number` the person's is the magic one called `name`."""
    own_id = f"{run}-{name}"
    user = {"name": person, "idCard": number or BY_NAME[name.replace("-", "_")].id_card}
    spec = {"checkType": 2, "personalUser": user}
    request = {"requestId": own_id, "source": run, "personalSpec": spec, **more}
    return Message(own_id, story, json.dumps(request, ensure_ascii=False).encode(), expected)


class Client:
    """A connection that publishes requests, and a queue of its own for their events.

    Raises AmqpError where it cannot connect, and pika's own AMQPError when the broker is lost.
    """

    def __init__(self, url: str, run: str) -> None:
        self._url = url
        self._run = run
        self._started = 0.0
        self._stack = ExitStack()
        self._connection: Any = None
        self._channel: Any = None
        self.events: list[Event] = []

    def __enter__(self) -> Self:
        self._connection = self._stack.enter_context(opened(self._url, "demonstration"))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(queue, RESULTS, "#")
        self._channel.basic_consume(queue, self._arrived, auto_ack=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages; when this returns, the broker has them safe."""
        self._started = self._started or time.monotonic()
        for message in messages:
            properties = pika.BasicProperties(
                content_type="application/json",
                delivery_mode=2,
                correlation_id=message.correlation_id,
                message_id=message.correlation_id,
                reply_to=message.reply_to,
            )
            self._channel.basic_publish(
                REQUESTS, "demonstration", message.body, properties, mandatory=True
            )

    def wait_for(
        self, messages: Sequence[Message], seconds: float, is_worth_it: Callable[[], bool]
    ) -> None:
        """Return once each message has its event, after so many seconds, or when it is in vain."""
        deadline = time.monotonic() + seconds
        wanted = {message.correlation_id for message in messages}
        while not wanted <= {event.correlation_id for event in self.events}:
            if time.monotonic() > deadline or not is_worth_it():
                return
            self._connection.process_data_events(time_limit=_LOOK_SECONDS)

    def take_dead_letter(self, correlation_id: str, *, keep: bool) -> dict[str, object] | None:
        """Return the headers of the dead letter of this message, the broker's own ones left out."""
        channel = self._connection.channel()
        for _ in range(_MOST_DEAD_LETTERS):
            method, properties, _ = channel.basic_get(DEAD)
            if method is None:
                break
            if properties.correlation_id == correlation_id:
                if not keep:
                    channel.basic_ack(method.delivery_tag)
                channel.close()  # whatever is not acknowledged goes back to its place
                headers: dict[str, object] = properties.headers or {}
                return {key: value for key, value in headers.items() if not key.startswith("x-")}
        channel.close()
        return None

    def _arrived(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if not str(properties.correlation_id).startswith(f"{self._run}-"):
            return  # another system's: the queue is bound to everything
        event = json.loads(body)
        self.events.append(
            Event(
                time.monotonic() - self._started,
                properties.correlation_id,
                method.routing_key,
                event["eventId"],
                event["outcome"],
                event["charged"],
                event["calls"],
                event["error"] and event["error"]["kind"],
            )
        )
