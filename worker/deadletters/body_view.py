"""The body of a dead letter as a person may see it: its shape, with every value masked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import orjson

from worker.contract.encryption import is_encrypted
from worker.contract.request_model import BYTE_ORDER_MARK
from worker.core.checks import CheckPolicy, FieldRefused, check_field
from worker.core.masking import mask
from worker.core.request import CheckType, Person, PersonField

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from worker.deadletters.reading import Known

    Fields = Mapping[str, Callable[[object], object]]
    """How each field of an object is shown."""

_POLICY = CheckPolicy()
_CHECK_TYPES = frozenset(CheckType)


def masked_body(body: bytes, known: Known, today: date) -> object:
    """Return the body as JSON values that may be shown.

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
        "requestId": lambda value: known.request_id or _kind(value),
        "source": lambda value: known.source or _kind(value),
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
        person = Person({field: check_field(field, value, _POLICY, today)})
    except FieldRefused:
        return _kind(value)
    masked = mask(person)
    shown = (masked.name, masked.id_card, masked.bankcard, masked.mobile, masked.portrait)
    return next(each for each in shown if each is not None)


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
