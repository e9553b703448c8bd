"""The AsyncAPI 3 document of the contract, made from the models, the names and the examples.

It describes the worker, as AsyncAPI has it: the worker receives requests and sends results, and
who integrates does the opposite.
"""

from typing import Any

from worker.contract import encryption, golden
from worker.contract.jwk import ALGORITHMS
from worker.contract.names import BULK, EVENT_TYPE, REQUESTS, RESULTS, UNROUTED
from worker.contract.result_v1 import CLOUD_ATTRIBUTES, CLOUD_PREFIX
from worker.contract.schemas import request_schema, result_schema
from worker.core.outcome import Outcome

_BINDING = "0.3.0"
_COMPONENTS = "#/components/schemas/"
_VERSION = "1.1.0"
"""Of the contract: it grows by what events say and by what requests may leave out, anything else
is `.v2`."""

# AsyncAPI has no place for AMQP's own properties: they stand among the headers, and say so.
_CORRELATION = {
    "description": "The AMQP property correlation_id.",
    "location": "$message.header#/correlation_id",
}


def asyncapi() -> dict[str, Any]:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Identity verification",
            "version": _VERSION,
            "description": "Requests are verified through JD Cloud personalAuth, once each, and "
            "every request ends in one outcome, published as an event. The worker receives and "
            "sends as described here; who integrates publishes requests and receives results.",
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {
            "requests": _channel(
                "Requests to verify a person. Any routing key will do; persistent.",
                REQUESTS,
                ("request", "encryptedRequest"),
                "your choice; the worker takes all",
            ),
            "bulkRequests": _channel(
                "Requests that can wait: the same messages and answers, and those of `requests` "
                "pass them.",
                BULK,
                ("request", "encryptedRequest"),
                "your choice; the worker takes all",
            ),
            "results": _channel(
                f"Results. What nobody is bound for is kept in {UNROUTED}.",
                RESULTS,
                ("result",),
                "the request's reply_to, or else <source>.<outcome>",
            ),
            "replies": {
                **_channel("Results under the sender's own reply_to.", RESULTS, ("result",), None),
                "address": None,
            },
        },
        "operations": {
            "receiveRequest": _receive(
                "requests", "The worker verifies a person, once per requestId."
            ),
            "receiveBulkRequest": _receive(
                "bulkRequests", "The same, when nobody waits before it."
            ),
            "sendResult": {
                "action": "send",
                "summary": "The worker announces an outcome, until the broker has confirmed it.",
                "channel": {"$ref": "#/channels/results"},
                "messages": [{"$ref": "#/channels/results/messages/result"}],
                "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": _BINDING}},
            },
        },
        "components": {
            "messages": {
                "request": _request_message(),
                "encryptedRequest": _encrypted_message(),
                "result": _result_message(),
            },
            "schemas": {
                **_hoisted("RequestV1", request_schema()),
                **_hoisted("ResultV1", result_schema()),
            },
        },
    }


def _receive(channel: str, summary: str) -> dict[str, Any]:
    messages = f"#/channels/{channel}/messages"
    return {
        "action": "receive",
        "summary": summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"{messages}/request"}, {"$ref": f"{messages}/encryptedRequest"}],
        "bindings": {"amqp": {"ack": True, "bindingVersion": _BINDING}},
        "reply": {
            "address": {
                "description": "The AMQP property reply_to: a routing key on "
                f"{RESULTS}, not a queue. Without it the result goes to `results`.",
                "location": "$message.header#/reply_to",
            },
            "channel": {"$ref": "#/channels/replies"},
            "messages": [{"$ref": "#/channels/replies/messages/result"}],
        },
    }


def _servers() -> dict[str, Any]:
    """Return where the broker is: the operators know, and `deploy/local/run` prints its own."""
    about = {"protocolVersion": "0-9-1", "security": [{"type": "userPassword"}]}
    host = {"default": "rabbitmq.example.org", "description": "Ask the operators."}
    vhost = {"default": "verification", "description": "The worker's own."}
    return {
        "production": {
            "host": "{host}:5671",
            "pathname": "/{vhost}",
            "protocol": "amqps",
            "description": "RabbitMQ, by TLS alone.",
            "variables": {"host": host, "vhost": vhost},
            **about,
        },
        "local": {
            "host": "localhost:5672",
            "protocol": "amqp",
            "description": "A broker of your own, as ./deploy/local/run --stay starts one.",
            **about,
        },
    }


def _channel(
    description: str, exchange: str, messages: tuple[str, ...], key: str | None
) -> dict[str, Any]:
    exchange_of = {"name": exchange, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": "{routingKey}",
        "description": description,
        **({"parameters": {"routingKey": {"description": key}}} if key else {}),
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in messages},
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": exchange_of, "bindingVersion": _BINDING}
        },
    }


def _request_message() -> dict[str, Any]:
    return {
        "name": "verification.request.v1",
        "title": "A verification request",
        "summary": "Persistent. AMQP's expiration must be left out, expiresAt stands for it; "
        "timestamp is when it was published.",
        "contentType": encryption.JSON,
        "headers": _request_headers(),
        "correlationId": _CORRELATION,
        "payload": {"$ref": f"{_COMPONENTS}RequestV1"},
        "examples": [
            {"name": name, "payload": golden.example_request(name)}
            for name in golden.NAMES
            if name not in golden.NO_REQUESTS
        ],
    }


def _encrypted_message() -> dict[str, Any]:
    algorithms = sorted({each for several in ALGORITHMS.values() for each in several})
    return {
        "name": "verification.request.v1.encrypted",
        "title": "A verification request, encrypted",
        "summary": "A request's whole body as a JWE in compact serialization (RFC 7516), to a key "
        "of the operators' JWK Set; properties as of a raw request. "
        f"alg: {', '.join(algorithms)}; enc: {', '.join(encryption.ENCRYPTIONS)}; kid: the key's.",
        "contentType": encryption.JOSE,
        "headers": _request_headers(),
        "correlationId": _CORRELATION,
        "payload": {"type": "string", "pattern": r"^e[wy][\w-]*(\.[\w-]*){4}$"},
    }


def _request_headers() -> dict[str, Any]:
    said = {
        "traceparent": "W3C trace context, passed on to the event",
        "message_id": "AMQP property: the requestId where the body has none",
        "correlation_id": "AMQP property: comes back with the event",
        "reply_to": "AMQP property: the routing key of the event, instead of <source>.<outcome>",
    }
    return _headers(said, ())


def _result_message() -> dict[str, Any]:
    attributes = {
        f"{CLOUD_PREFIX}{name}": f"CloudEvents: {what} (EVENT_FORMAT=cloudevents)"
        for name, what in CLOUD_ATTRIBUTES.items()
    }
    headers = _headers(
        {
            "outcome": "as in the body",
            "source": "as in the body",
            "traceparent": "the request's",
            "message_id": "AMQP property: the eventId",
            "correlation_id": "AMQP property: the request's, or else its requestId",
            **attributes,
        },
        ("outcome", "source"),
    )
    headers["properties"]["outcome"]["enum"] = [outcome.value for outcome in Outcome]
    return {
        "name": EVENT_TYPE,
        "title": "A result event",
        "summary": f"Persistent; its type is {EVENT_TYPE}, its timestamp completedAt.",
        "contentType": "application/json",
        "headers": headers,
        "correlationId": _CORRELATION,
        "payload": {"$ref": f"{_COMPONENTS}ResultV1"},
        "bindings": {"amqp": {"messageType": EVENT_TYPE, "bindingVersion": _BINDING}},
        "examples": [_result_example(name) for name in golden.NAMES],
    }


def _result_example(name: str) -> dict[str, Any]:
    event = golden.example_result(name)
    headers = {
        "outcome": event["outcome"],
        "source": event["source"],
        "message_id": event["eventId"],
        **({"correlation_id": event["requestId"]} if event["requestId"] else {}),
    }
    return {"name": name, "headers": headers, "payload": event}


def _headers(descriptions: dict[str, str], required: tuple[str, ...]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        name: {"type": "string", "description": description}
        for name, description in descriptions.items()
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _hoisted(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema and its `$defs` as components: `$ref` starts at the document's root here."""
    inner = {key: value for key, value in schema.items() if key not in ("$schema", "$defs")}
    moved: dict[str, Any] = _moved({name: inner, **schema["$defs"]})
    return moved


def _moved(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: value.replace("#/$defs/", _COMPONENTS) if key == "$ref" else _moved(value)
            for key, value in node.items()
        }
    return [_moved(each) for each in node] if isinstance(node, list) else node
