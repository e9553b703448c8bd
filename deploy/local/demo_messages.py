"""The demonstration's messages, the client that exchanges them, and whether all came as it must.

`demo_messages.json` has the messages: the people are invented, their ID numbers the sandbox's magic
ones, `expected` is an event's outcome, charge, calls and error, and its row's where it has one. The
client is an ordinary one: a publishing system can do the same with any AMQP library.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika

from worker.contract.names import REQUESTS, RESULTS
from worker.sandbox.magic import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_FILE = Path(__file__).with_suffix(".json")

# The slowest message waits 1 s for its second attempt, 5 s with the standard delays.
_EVENT_SECONDS = 30.0
_LOOK_SECONDS = 0.1

_COMPARED = ("outcome", "charged", "calls", "error_kind")

Row = dict[str, Any]
Message = dict[str, Any]


def messages(run: str) -> tuple[list[Message], list[Message]]:
    """Return those to send at once, and those that follow the answer to the first of them.

    `run` is their source and their ids' prefix.
    """
    kinds = json.loads(_FILE.read_text(encoding="utf-8"))
    first, second = ([_built(run, each) for each in kinds[kind]] for kind in ("first", "second"))
    return first, second


def _built(run: str, message: Message) -> Message:
    numbers = {name: magic.id_card for name, magic in BY_NAME.items()}
    # Valid but for its check digit, which is X.
    numbers["wrong digit"] = f"{numbers['match'][:-1]}0"
    body = "{"
    if "person" in message:
        user = {"name": message["person"], "idCard": numbers[message["number"]]}
        request = {
            "requestId": f"{run}-{message.get('same_id_as', message['name'])}",
            "source": run,
            "personalSpec": {"checkType": 2, "personalUser": user},
            "expiresAt": message.get("expiresAt"),
        }
        body = json.dumps(request, ensure_ascii=False)
    reply_to = f"{run}.{message['reply_to']}" if "reply_to" in message else None
    return {**message, "id": f"{run}-{message['name']}", "body": body, "reply_to": reply_to}


class Client:
    """Publishes requests, and has a queue of its own for their events, in `events` as they came."""

    def __init__(self, connection: pika.BlockingConnection, run: str) -> None:
        self._connection = connection
        self._run = run
        self._channel = connection.channel()
        self._channel.confirm_delivery()
        queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(queue, RESULTS, "#")
        self._channel.basic_consume(queue, self._arrived, auto_ack=True)
        self.events: list[Row] = []

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages; when this returns, the broker has them safe."""
        for message in messages:
            properties = pika.BasicProperties(
                content_type="application/json",
                delivery_mode=2,
                correlation_id=message["id"],
                message_id=message["id"],
                reply_to=message["reply_to"],
            )
            body = message["body"].encode()
            self._channel.basic_publish(REQUESTS, "demonstration", body, properties, mandatory=True)

    def wait_for(self, messages: Sequence[Message], is_worth_it: Callable[[], bool]) -> None:
        """Return once each message has its event, after 30 s, or when it is in vain."""
        deadline = time.monotonic() + _EVENT_SECONDS
        wanted = {message["id"] for message in messages}
        while not wanted <= {event["message"] for event in self.events}:
            if time.monotonic() > deadline or not is_worth_it():
                return
            self._connection.process_data_events(time_limit=_LOOK_SECONDS)

    def _arrived(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if not str(properties.correlation_id).startswith(f"{self._run}-"):
            return  # another system's: the queue is bound to everything
        event = json.loads(body)
        self.events.append(
            {
                "message": properties.correlation_id,
                "outcome": event["outcome"],
                "routing key": method.routing_key,
                "charged": event["charged"],
                "calls": event["calls"],
                "error_kind": event["error"] and event["error"]["kind"],
                "event_id": event["eventId"],
            }
        )


def problems(
    sent: Sequence[Message], events: Sequence[Row], results: Sequence[Row], billed: Row
) -> Iterator[str]:
    """Yield a sentence for everything that is not as it must be."""
    by_message = {event["message"]: event for event in events}
    rows = {row["request_id"]: row for row in results}
    for message in sent:
        event, wanted = by_message.get(message["id"], {}), message["expected"]
        if (told := [event.get(name) for name in _COMPARED]) != wanted:
            yield f"{message['id']}: the event says {told if event else 'nothing'}, not {wanted}"
        row = rows.get(message["id"], {})
        saved = [row.get(name) for name in _COMPARED]
        if message.get("row", True) and saved != wanted:
            yield f"{message['id']}: the row says {saved}, not {wanted}"
    twins = [key for key in by_message if key.endswith(("-match", "-repeated"))]
    if len({by_message[key]["event_id"] for key in twins}) > 1:
        yield "the repeated request got another eventId than the first one"
    if len(events) > len(sent):
        yield f"{len(events)} events came for {len(sent)} messages"
    calls = sum(each["expected"][2] for each in sent if each.get("row", True))
    charges = sum(each.get("charges", 0) for each in sent)
    if (billed["calls"], billed["charges"]) != (calls, charges):
        paid = f"{billed['calls']} calls, {billed['charges']} paid"
        yield f"the bill has {paid}, not {calls}, {charges}"
