"""The AsyncAPI 3 document of the contract.

It describes the worker, as AsyncAPI has it: the worker receives requests and sends results, and
who integrates does the opposite. Its words stand in `published/asyncapi.json`, which refers to the
schemas beside it; here both schemas and the examples are put into it, so that it is one document.
AsyncAPI has no place for AMQP's own properties: they stand among the headers, and say so.
"""

from pathlib import Path
from typing import Any

import orjson

from worker.contract import golden
from worker.contract.schemas import request_schema, result_schema

_PUBLISHED = Path(__file__).parent / "published" / "asyncapi.json"


def asyncapi() -> dict[str, Any]:
    """Return the document."""
    document: dict[str, Any] = orjson.loads(_PUBLISHED.read_bytes())
    components = document["components"]
    request, result = components["messages"]["request"], components["messages"]["result"]
    request["payload"] = {"$ref": "#/components/schemas/RequestV1"}
    request["examples"] = [
        {"name": name, "payload": golden.example_request(name)}
        for name in golden.NAMES
        if name not in golden.NO_REQUESTS
    ]
    result["payload"] = {"$ref": "#/components/schemas/ResultV1"}
    result["examples"] = [_result_example(name) for name in golden.NAMES]
    components["schemas"] = _schemas()
    return document


def _result_example(name: str) -> dict[str, Any]:
    event = golden.example_result(name)
    headers = {
        "outcome": event["outcome"],
        "source": event["source"],
        "message_id": event["eventId"],
        **({"correlation_id": event["requestId"]} if event["requestId"] else {}),
    }
    return {"name": name, "headers": headers, "payload": event}


def _schemas() -> dict[str, Any]:
    """Return both schemas and their `$defs`: `$ref` starts at the document's root here."""
    schemas: dict[str, Any] = {}
    for name, schema in (("RequestV1", request_schema()), ("ResultV1", result_schema())):
        del schema["$schema"]
        definitions = schema.pop("$defs")
        schemas |= {name: schema, **definitions}
    moved: dict[str, Any] = orjson.loads(
        orjson.dumps(schemas).replace(b"#/$defs/", b"#/components/schemas/")
    )
    return moved
