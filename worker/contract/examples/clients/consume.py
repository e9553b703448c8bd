"""Takes results for ever: AMQP_URL=amqp://… python consume.py (pip install pika)."""

import json
import os
import sqlite3
from typing import Any

import pika

SOURCE = "onboarding-web"  # what your requests have as `source`
QUEUE = f"{SOURCE}.results"
MODE = os.environ.get("VERIFICATION_MODE", "sandbox")  # `live` in production


def main() -> None:
    """Bind a queue of our own and take events, each once."""
    handled = sqlite3.connect("handled-events.sqlite3")  # in your system: a table of its database
    handled.execute("CREATE TABLE IF NOT EXISTS handled (event_id TEXT PRIMARY KEY)")
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(QUEUE, "verification.results", f"{SOURCE}.*")
        channel.basic_qos(prefetch_count=50)
        for method, _properties, body in channel.consume(QUEUE):
            event = json.loads(body)
            with handled:  # one transaction: your work, and the note that it is done
                note = "INSERT OR IGNORE INTO handled VALUES (?)"
                if handled.execute(note, (event["eventId"],)).rowcount:
                    act_on(event)
            channel.basic_ack(method.delivery_tag)  # only now: a crash before brings it again


def act_on(event: dict[str, Any]) -> None:
    """Do what your system does with a result; `print` stands for that."""
    if event["mode"] != MODE:
        raise SystemExit(f"a {event['mode']} result came, and this system is {MODE}")
    request_id = event["requestId"]
    match event["outcome"]:
        case "match":
            print(f"{request_id}: match, go on", flush=True)
        case "mismatch" | "no_record":
            print(f"{request_id}: {event['outcome']}, the applicant corrects it", flush=True)
        case "expired":
            print(f"{request_id}: expired, ask again under a new id if it matters", flush=True)
        case "rejected":
            fields = [problem["field"] for problem in event["error"]["fields"]]
            print(f"{request_id}: rejected for {', '.join(fields)}, our mistake", flush=True)
        case outcome:  # failed, conflict, and whatever a later version adds
            print(f"{request_id}: {outcome}, {event['error']['kind']}, for a person", flush=True)


if __name__ == "__main__":
    main()
