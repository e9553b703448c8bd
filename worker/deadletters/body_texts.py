"""The values in the body of a dead letter, which may be anybody's, in whatever place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from worker.contract.request_model import BYTE_ORDER_MARK
from worker.core import spelling

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_READ = 1_048_576
"""Where the default of MAX_MESSAGE_BYTES is: what the worker did not read is not read here."""

# Fields beside the person's own; of the rest every text may be a value of the person.
_NOT_PERSONAL = frozenset({"requestId", "source", "expiresAt", "context"})


def personal_texts(tree: Mapping[str, Any]) -> frozenset[str]:
    """Return every value of a request that may be its person's, in upper case.

    Wherever it stands and however it is called: what was sent wrongly is in no known place.
    """
    found: set[str] = set()
    rest: list[object] = [value for name, value in tree.items() if name not in _NOT_PERSONAL]
    while rest:  # no recursion: a hostile body is nested as deep as its parser allows
        value = rest.pop()
        if isinstance(value, dict):
            rest += [each for name, each in value.items() if name != "checkType"]
        elif isinstance(value, list):
            rest += value
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            folded = str(value).strip().upper()
            spellings = (folded, spelling.compact(folded))
            # One character alone would be found in every other id.
            found.update(each for each in spellings if len(each) >= 2)
    return frozenset(found)


def tree_of(body: bytes) -> Mapping[str, Any]:
    """Return a body as JSON values; empty where it is none, or larger than is read."""
    if len(body) > MOST_READ:
        return {}
    try:
        tree = orjson.loads(body.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        return {}
    return tree if isinstance(tree, dict) else {"body": tree}
