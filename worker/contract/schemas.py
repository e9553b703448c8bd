"""JSON Schemas (2020-12) of the contract, and its AsyncAPI 3 document.

The schemas are made from the models and the field matrix, for programs that make clients of them:
no default that such a client would send, a type of its own for objects alone, and the rules between
fields where generators do not look.

The document describes the worker, as AsyncAPI has it: the worker receives requests and sends
results, and who integrates does the opposite. Its words stand in `published/asyncapi.json` itself
and are changed there; schemas, outcomes and examples are put into it from models and examples.
AsyncAPI has no place for AMQP's own properties: they stand among the headers, and say so.
"""

from pathlib import Path
from typing import Any

import orjson

from worker.contract import golden
from worker.contract.request_model import RequestV1
from worker.contract.result_v1 import ResultV1
from worker.core.outcome import Outcome
from worker.core.request import FIELDS_BY_TYPE, PersonField

_ASYNCAPI = Path(__file__).parent / "published" / "asyncapi.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def request_schema() -> dict[str, Any]:
    """Return the schema of a request, with the fields that each check type takes."""
    schema = {"$schema": _DIALECT, **_plain(RequestV1.model_json_schema())}
    schema["$defs"]["PersonalSpecV1"] |= _fields_by_type()
    return schema


def result_schema() -> dict[str, Any]:
    """Return the schema of a result event."""
    return {"$schema": _DIALECT, **_plain(ResultV1.model_json_schema())}


def schemas() -> dict[str, Any]:
    """Return both, by the names of their versions."""
    return {"verification.request.v1": request_schema(), "verification.result.v1": result_schema()}


def _fields_by_type() -> dict[str, Any]:
    """Return one chain of if, then and else: a list of alternatives would be types to a generator.

    null is absent: a field that is needed is a string, and one that is not is null.
    """
    chain: dict[str, Any] = {}
    for check_type, fields in reversed(list(FIELDS_BY_TYPE.items())):
        user = {
            field.value: {"type": "string" if field in fields else "null"} for field in PersonField
        }
        needed = {"properties": user, "required": [field.value for field in fields]}
        rule = {
            "if": {"properties": {"checkType": {"const": int(check_type)}}},
            "then": {"properties": {"personalUser": needed}},
        }
        chain = {**rule, "else": chain} if chain else rule
    return chain


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return pydantic's schema without what makes bad clients.

    A title of a property becomes a type of its own, a default is sent, and a text or null is
    clearer as one type of two names than as two alternatives.
    """
    for name, each in schema.get("properties", {}).items():
        kept = {key: value for key, value in each.items() if key not in ("title", "default")}
        match kept.pop("anyOf", None):
            case [{"type": str(kind), **rules}, {"type": "null"}]:
                kept = {"type": [kind, "null"], **rules, **kept}
            case list(alternatives):
                kept = {"anyOf": alternatives, **kept}
        schema["properties"][name] = kept
    schema["$defs"] = {name: _plain(each) for name, each in schema.get("$defs", {}).items()}
    return {key: value for key, value in schema.items() if key != "$defs" or value}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI document."""
    document: dict[str, Any] = orjson.loads(_ASYNCAPI.read_bytes())
    components = document["components"]
    request, result = components["messages"]["request"], components["messages"]["result"]
    request["examples"] = [
        {"name": name, "payload": golden.example_request(name)}
        for name in golden.NAMES
        if name not in golden.NO_REQUESTS
    ]
    result["examples"] = [_result_example(name) for name in golden.NAMES]
    result["headers"]["properties"]["outcome"]["enum"] = [outcome.value for outcome in Outcome]
    components["schemas"] = _components()
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


def _components() -> dict[str, Any]:
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
