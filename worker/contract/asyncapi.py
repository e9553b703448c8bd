"""The AsyncAPI 3 document of the contract, made from the models, the names and the examples.

It describes the worker, as AsyncAPI has it: the worker receives requests and sends results, and
who integrates does the opposite.
"""

from __future__ import annotations

from typing import Any

from worker.contract import cloudevents, encryption, golden
from worker.contract.jwk import ALGORITHMS
from worker.contract.names import EVENT_TYPE, REQUESTS, RESULTS, UNROUTED
from worker.contract.schemas import request_schema, result_schema
from worker.core.outcome import Outcome

_BINDING = "0.3.0"
_COMPONENTS = "#/components/schemas/"
_VERSION = "1.0.0"
"""Of the contract; it grows by fields of events alone, anything else is `.v2`."""


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
        "channels": {
            "requests": _channel(
                "Requests to verify a person. Any routing key will do; persistent.",
                REQUESTS,
                ("request", "encryptedRequest"),
                "your choice; the worker takes all",
            ),
            "results": _channel(
                f"Results. What nobody is bound for is kept in {UNROUTED}.",
                RESULTS,
                ("result",),
                "the request's reply_to, or else <source>.<outcome>",
            ),
        },
        "operations": {
            "receiveRequest": {
                "action": "receive",
                "summary": "The worker verifies a person, once per requestId.",
                "channel": {"$ref": "#/channels/requests"},
                "messages": [
                    {"$ref": "#/channels/requests/messages/request"},
                    {"$ref": "#/channels/requests/messages/encryptedRequest"},
                ],
                "bindings": {"amqp": {"ack": True, "bindingVersion": _BINDING}},
                "reply": {
                    "channel": {"$ref": "#/channels/results"},
                    "messages": [{"$ref": "#/channels/results/messages/result"}],
                },
            },
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


def _channel(
    description: str, exchange: str, messages: tuple[str, ...], key: str
) -> dict[str, Any]:
    exchange_of = {"name": exchange, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": "{routingKey}",
        "description": description,
        "parameters": {"routingKey": {"description": key}},
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in messages},
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": exchange_of, "bindingVersion": _BINDING}
        },
    }


def _request_message() -> dict[str, Any]:
    return {
        "name": "verification.request.v1",
        "title": "A verification request",
        "summary": "Properties heeded: message_id (the requestId where the body has none), "
        "correlation_id and reply_to (for the event), expiration (the broker's), timestamp.",
        "contentType": encryption.JSON,
        "headers": _request_headers(),
        "correlationId": {"location": "$message.payload#/requestId"},
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
        "payload": {"type": "string", "pattern": r"^e[wy][\w-]*(\.[\w-]*){4}$"},
    }


def _request_headers() -> dict[str, Any]:
    return _headers({"traceparent": "W3C trace context, passed on to the event"}, ())


def _result_message() -> dict[str, Any]:
    attributes = {
        f"{cloudevents.PREFIX}{name}": f"CloudEvents: {what} (EVENT_FORMAT=cloudevents)"
        for name, what in cloudevents.ATTRIBUTES.items()
    }
    headers = _headers(
        {
            "outcome": "as in the body",
            "source": "as in the body",
            "traceparent": "the request's",
            **attributes,
        },
        ("outcome", "source"),
    )
    headers["properties"]["outcome"]["enum"] = [outcome.value for outcome in Outcome]
    return {
        "name": EVENT_TYPE,
        "title": "A result event",
        "summary": "Properties: type, message_id (the eventId), correlation_id (the request's, or "
        "else its requestId), timestamp (completedAt), persistent.",
        "contentType": "application/json",
        "headers": headers,
        "correlationId": {"location": "$message.payload#/requestId"},
        "payload": {"$ref": f"{_COMPONENTS}ResultV1"},
        "bindings": {"amqp": {"messageType": EVENT_TYPE, "bindingVersion": _BINDING}},
        "examples": [_result_example(name) for name in golden.NAMES],
    }


def _result_example(name: str) -> dict[str, Any]:
    event = golden.example_result(name)
    headers = {"outcome": event["outcome"], "source": event["source"]}
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
