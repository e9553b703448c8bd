"""Publishes one request: AMQP_URL=amqp://… python publish.py request.json (pip install pika)."""

import json
import os
import sys
import time
from pathlib import Path

import pika


def main() -> None:
    """Publish, and return when the broker has it safe; on any error publish the same again."""
    body = Path(sys.argv[1]).read_bytes()
    request_id = json.loads(body)["requestId"]
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        channel.confirm_delivery()  # publishing waits for the broker, and raises if it refuses
        channel.basic_publish(
            exchange="verification.requests",
            routing_key="onboarding-web",
            body=body,
            properties=pika.BasicProperties(
                delivery_mode=2,  # persistent: it survives a restart of the broker
                content_type="application/json",
                message_id=request_id,
                correlation_id=request_id,
                timestamp=int(time.time()),
            ),
            mandatory=True,  # raises where no queue takes it: a wrong vhost, no topology
        )
    print(f"published {request_id}")


if __name__ == "__main__":
    main()
