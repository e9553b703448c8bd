"""The demonstration's messages, how they are exchanged, and whether all came as it must.

`demo_messages.json` has the messages: the people are invented, their ID numbers the sandbox's magic
ones, `expected` is an event's outcome, charge, calls and error, and its row's where it has one.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.amqp.blocking import BlockingPublisher, opened
from worker.contract.names import REQUESTS, RESULTS
from worker.core.delivery import Publication
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
    for message in (*kinds["first"], *kinds["second"]):
        message["id"] = f"{run}-{message['name']}"
    return kinds["first"], kinds["second"]


def _publication(run: str, message: Message) -> Publication:
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
    ids = (message["id"], message["id"])
    return Publication(REQUESTS, "demonstration", body.encode(), *ids, reply_to=reply_to)


def exchange(url: str, run: str, is_worth_it: Callable[[], bool]) -> list[Row]:
    """Publish all messages, and return their events as they came, from a queue of our own.

    All have come, or none more for 30 s, or it is in vain. In ids and routing keys of the events is
    not what all have in common: a table of 80 columns has no room for it.
    """
    first, second = messages(run)
    missing = {f"-{message['name']}" for message in (*first, *second)}
    events: list[Row] = []
    with opened(url, "demonstration") as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, RESULTS, "#")
        publisher = BlockingPublisher(connection)
        publisher.publish([_publication(run, each) for each in first], lambda: None)
        deadline = time.monotonic() + _EVENT_SECONDS
        arrivals = channel.consume(queue, auto_ack=True, inactivity_timeout=_LOOK_SECONDS)
        while missing and is_worth_it() and time.monotonic() < deadline:
            method, properties, body = next(arrivals)
            if method is None or not str(properties.correlation_id).startswith(f"{run}-"):
                continue  # nothing yet, or another system's: the queue is bound to everything
            event = json.loads(body)
            name = properties.correlation_id.removeprefix(run)
            events.append(
                {
                    "message": name,
                    "outcome": event["outcome"],
                    "routing key": method.routing_key.removeprefix(run),
                    "charged": event["charged"],
                    "calls": event["calls"],
                    "error_kind": event["error"] and event["error"]["kind"],
                    "event_id": event["eventId"],
                }
            )
            # The repeat and the conflict find the request answered: no wait, no chance.
            if name == f"-{first[0]['name']}" and name in missing:
                publisher.publish([_publication(run, each) for each in second], lambda: None)
            missing.discard(name)
    return events


def problems(run: str, events: Sequence[Row], results: Sequence[Row], billed: Row) -> Iterator[str]:
    """Yield a sentence for everything that is not as it must be."""
    first, second = messages(run)
    by_message = {f"{run}{event['message']}": event for event in events}
    rows = {row["request_id"]: row for row in results}
    wanted_bill = {"calls": 0, "charges": 0}
    for message in (*first, *second):
        found = {"event": by_message.get(message["id"])}
        if message.get("row", True):
            found["row"] = rows.get(message["id"])
            wanted_bill["calls"] += message["expected"][2]
            wanted_bill["charges"] += message.get("charges", 0)
        for what, facts in found.items():
            said = facts and [facts[name] for name in _COMPARED]
            if said != message["expected"]:
                yield f"{message['id']}: the {what} says {said}, not {message['expected']}"
    twins = (event for event in events if event["message"] in ("-match", "-repeated"))
    if len({event["event_id"] for event in twins}) > 1:
        yield "the repeated request got another eventId than the first one"
    if len(events) > len(first + second):
        yield f"{len(events)} events came for {len(first + second)} messages"
    if (bill := {name: billed[name] for name in wanted_bill}) != wanted_bill:
        yield f"the bill has {bill}, not {wanted_bill}"
