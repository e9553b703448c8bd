"""The body of a dead letter: its values, which may be anybody's, wherever they stand.

And as a person may see it: its shape, with every value masked.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from functools import partial
from typing import Any

import orjson

from worker.contract.encryption import is_encrypted
from worker.contract.request_model import BYTE_ORDER_MARK
from worker.core import spelling
from worker.core.checks import CheckPolicy, FieldRefused, check_field
from worker.core.masking import mask_field
from worker.core.request import CheckType, PersonField

Fields = Mapping[str, Callable[[object], object]]
"""How each field of an object is shown."""

_POLICY = CheckPolicy()
_CHECK_TYPES = frozenset(CheckType)


def masked_body(body: bytes, request_id: str | None, source: str | None, today: date) -> object:
    """Return the body as JSON values that may be shown; of its id and source what is given.

    A person's value that passes its check is masked as in the tables; of one that does not only
    the kind and the length are told, for it may be anything. Names of unknown fields may be a
    person's data as well: they are counted.
    """
    if is_encrypted(body):
        return f"<encrypted, {len(body)} bytes>"
    try:
        tree = orjson.loads(body.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        return f"<not JSON, {len(body)} bytes>"
    user = {each.value: partial(_personal, each, today) for each in PersonField}
    spec: Fields = {"checkType": _check_type, "personalUser": partial(_object, user)}
    request: Fields = {
        "requestId": lambda value: request_id or _kind(value),
        "source": lambda value: source or _kind(value),
        "personalSpec": partial(_object, spec),
        "context": _kind,
        "expiresAt": _kind,
    }
    return _object(request, tree)


def _object(fields: Fields, value: object) -> object:
    """Return the known fields of an object, each as its function shows it, in their order."""
    if not isinstance(value, dict):
        return _kind(value)
    shown = {name: show(value[name]) for name, show in fields.items() if name in value}
    unknown = len(value) - len(shown)
    return shown | ({"<unknown fields>": unknown} if unknown else {})


def _check_type(value: object) -> object:
    return value if type(value) is int and value in _CHECK_TYPES else _kind(value)


def _personal(field: PersonField, today: date, value: object) -> str:
    if not isinstance(value, str):
        return _kind(value)
    try:
        return mask_field(field, check_field(field, value, _POLICY, today))
    except FieldRefused:
        return _kind(value)


def _kind(value: object) -> str:
    """Return what kind of value stands there, and nothing of it."""
    match value:
        case None:
            return "<null>"
        case bool():
            return "<true or false>"
        case str():
            return f"<text of {len(value)} characters>"
        case dict():
            return f"<object of {len(value)} fields>"
        case list():
            return f"<list of {len(value)}>"
        case _:
            return "<number>"


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


def holds(body: bytes, id_cards: Collection[str]) -> bool:
    """Return whether one of these ID numbers stands in a body, as it is or as JSON writes it.

    In UTF-16 and UTF-32 zeros stand between the characters.
    """
    body = body.replace(b"\0", b"")
    texts = (body.decode("utf-8", "ignore"), *personal_texts({"body": tree_of(body)}))
    return stand_in(texts, id_cards)


def stand_in(texts: Iterable[str], id_cards: Collection[str]) -> bool:
    """Return whether one of these ID numbers stands in one of the texts, however it is spaced."""
    return any(number in text for text in map(spelling.compact, texts) for number in id_cards)
