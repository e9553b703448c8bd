"""The contract as files, for who integrates: `published/` holds what this makes.

After a change of the models: `.venv/bin/python -m tests.contract.regenerate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from worker.contract.asyncapi import asyncapi
from worker.contract.schemas import schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "published"


def documents() -> Mapping[str, bytes]:
    """Return the bytes of each file by its name."""
    files = {f"{name}.schema.json": schema for name, schema in schemas().items()}
    return {name: printed(each) for name, each in {**files, "asyncapi.json": asyncapi()}.items()}


def printed(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON for people, with a line's end."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
