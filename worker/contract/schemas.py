"""JSON Schemas (2020-12) of the contract, made from the models and the field matrix."""

from __future__ import annotations

from typing import Any

from worker.contract.request_model import RequestV1
from worker.contract.result_v1 import ResultV1
from worker.core.request import FIELDS_BY_TYPE, PersonField

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def request_schema() -> dict[str, Any]:
    """Return the schema of a request, with the fields that each check type takes."""
    schema = {"$schema": _DIALECT, **RequestV1.model_json_schema()}
    schema["$defs"]["PersonalSpecV1"]["allOf"] = [
        {
            "if": {"properties": {"checkType": {"const": int(check_type)}}},
            "then": {
                "properties": {
                    "personalUser": {
                        "required": [field.value for field in fields],
                        "properties": {
                            field.value: False for field in PersonField if field not in fields
                        },
                    }
                }
            },
        }
        for check_type, fields in FIELDS_BY_TYPE.items()
    ]
    return schema


def result_schema() -> dict[str, Any]:
    """Return the schema of a result event."""
    return {"$schema": _DIALECT, **ResultV1.model_json_schema()}


def schemas() -> dict[str, Any]:
    """Return both, by the names of their versions."""
    return {"verification.request.v1": request_schema(), "verification.result.v1": result_schema()}
