"""The body of a dead letter as a person may see it: its shape, with every value masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from worker.contract.encryption import is_encrypted
from worker.core.checks import CheckPolicy, FieldRefused, check_field
from worker.core.masking import mask
from worker.core.request import CheckType, Person, PersonField

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date

    from worker.deadletters.reading import Known

_POLICY = CheckPolicy()
_CHECK_TYPES = frozenset(CheckType)
# In the order in which they are shown.
_FIELDS = ("requestId", "source", "personalSpec", "context", "expiresAt")
_SPEC_FIELDS = ("checkType", "personalUser")


def masked_body(body: bytes, known: Known, today: date) -> object:
    """Return the body as JSON values that may be shown.

    A person's value that passes its check is masked as in the tables; of one that does not only
    the kind and the length are told, for it may be anything. Names of unknown fields may be a
    person's data as well: they are counted.
    """
    if is_encrypted(body):
        return f"<encrypted, {len(body)} bytes>"
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return f"<not JSON, {len(body)} bytes>"
    if not isinstance(tree, dict):
        return _kind(tree)
    shown: dict[str, object] = {}
    for name in (each for each in _FIELDS if each in tree):
        match name:
            case "requestId":
                shown[name] = known.request_id or _kind(tree[name])
            case "source":
                shown[name] = known.source or _kind(tree[name])
            case "personalSpec":
                shown[name] = _spec(tree[name], today)
            case _:
                shown[name] = _kind(tree[name])
    return shown | _unknown(tree, _FIELDS)


def _spec(spec: object, today: date) -> object:
    if not isinstance(spec, dict):
        return _kind(spec)
    shown: dict[str, object] = {}
    if "checkType" in spec:
        number = spec["checkType"]
        known = type(number) is int and number in _CHECK_TYPES
        shown["checkType"] = number if known else _kind(number)
    if "personalUser" in spec:
        shown["personalUser"] = _user(spec["personalUser"], today)
    return shown | _unknown(spec, _SPEC_FIELDS)


def _user(user: object, today: date) -> object:
    if not isinstance(user, dict):
        return _kind(user)
    fields = [each for each in PersonField if each.value in user]
    shown = {each.value: _value(each, user[each.value], today) for each in fields}
    return shown | _unknown(user, [each.value for each in PersonField])


def _value(field: PersonField, value: object, today: date) -> str:
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


def _unknown(tree: Mapping[str, Any], fields: Collection[str]) -> dict[str, object]:
    count = len(tree.keys() - set(fields))
    return {"<unknown fields>": count} if count else {}
