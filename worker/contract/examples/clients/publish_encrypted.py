"""Publishes one request encrypted: AMQP_URL=… python publish_encrypted.py request.json keys.json.

pip install pika joserfc; keys.json is the operators' public key set.
"""

import json
import os
import sys
import time
from pathlib import Path

import pika
from joserfc import jwe
from joserfc.jwk import import_key


def main() -> None:
    """Publish, and return when the broker has it safe; on any error publish the same again."""
    body = Path(sys.argv[1]).read_bytes()
    request_id = json.loads(body)["requestId"]
    key = json.loads(Path(sys.argv[2]).read_bytes())["keys"][0]  # the first is the current one
    header = {"alg": key["alg"], "enc": "A256GCM", "kid": key["kid"]}
    encrypted = jwe.encrypt_compact(header, body, import_key(key), [key["alg"], "A256GCM"])
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(
            exchange="verification.requests",
            routing_key="onboarding-web",
            body=encrypted.encode(),
            properties=pika.BasicProperties(
                delivery_mode=2,
                content_type="application/jose",
                message_id=request_id,  # properties are never encrypted: no personal data here
                correlation_id=request_id,
                timestamp=int(time.time()),
            ),
            mandatory=True,
        )
    print(f"published {request_id}")


if __name__ == "__main__":
    main()
