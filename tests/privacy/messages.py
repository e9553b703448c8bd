"""What publishers send that is not right, about a person of its own each time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from tests.privacy.canaries import Canary, People, full_width, grouped, wrong_check_digit

Change = Callable[[Canary], dict[str, object]]


Message = tuple[bytes, dict[str, Any]]
"""A body, and its properties."""

# What becomes of each of a person's values, by the check type that needs it.
_VALUES = {"name": 2, "idCard": 2, "bankcard": 0, "mobile": 4, "imgBase64": 3}
_WRONG: tuple[Callable[[str], object], ...] = (
    lambda value: value[1:],
    lambda value: value * 11,
    lambda value: f"+1 {value} x",
    lambda value: [value],
    lambda value: {value: value},
)
_PERSONS: tuple[Change, ...] = (
    lambda c: {"idCard": wrong_check_digit(c.id_card)},
    lambda c: {"idCard": full_width(wrong_check_digit(c.id_card))},
    lambda c: {"idCard": grouped(wrong_check_digit(c.id_card), " ", 6, 8)},
    lambda c: {"idCard": grouped(wrong_check_digit(c.id_card), "-", 6, 8)},
    lambda c: {"idCard": int(c.id_card[:17])},
    lambda c: {"mobile": int(c.mobile)},
    lambda c: {"bankcard": int(c.bankcard)},
    lambda c: {"bankcard": full_width(c.bankcard[:-1])},
    lambda c: {"name": f"{c.name} {c.id_card}"},
    lambda c: {"name": None},
    lambda c: {"name": c.id_card, "idCard": c.name},
    lambda c: {"imgBase64": f"data:image/png;base64,,{c.image}"},
    lambda c: {c.name: c.id_card, c.id_card: c.name},
    lambda c: {"id_card": c.id_card, "phone": c.mobile},
)
# Requests of a wrong shape, and the person's numbers in fields that are kept.
_REQUESTS: tuple[Change, ...] = (
    lambda c: {"idCard": c.id_card, c.name: c.mobile},
    lambda c: {"source": c.name},
    lambda c: {"source": [c.id_card]},
    lambda c: {"source": c.id_card.lower()},
    lambda c: {"source": f"web-{c.mobile}"},
    lambda c: {"expiresAt": c.id_card},
    lambda c: {"context": c.id_card},
    lambda c: {"context": {c.name: c.image}},
    lambda c: {"context": {"deep": [{"card": int(c.bankcard)}]}},
    lambda c: {"context": {c.mobile: True}},
    lambda c: {"context": {"m": grouped(c.mobile, " ", 3, 4), "full width": full_width(c.mobile)}},
    lambda c: {"personalSpec": c.user(0)},
    lambda c: {"personalSpec": {"checkType": c.id_card, "personalUser": c.user(2)}},
    lambda c: {"personalSpec": {"checkType": 2, "personalUser": json.dumps(c.user(2))}},
    lambda c: {"personalSpec": {"checkType": 9, "personaluser": c.user(0)}},
    lambda c: {"requestId": [c.id_card]},
    lambda c: {"requestId": c.name * 40},
    lambda c: {"requestId": f"onb-{c.id_card.lower()}-1"},
    lambda c: {"requestId": f"onb {grouped(c.mobile, '-', 3, 4)}"},
    lambda c: {"requestId": c.bankcard},
    lambda c: {"requestId": c.id_card, "personalSpec": None},
)
# Of unreadable messages nobody knows whom they are about: ID numbers alone are recognised.
_PROPERTIES: tuple[Change, ...] = (
    lambda c: {"message_id": c.id_card},
    lambda c: {"correlation_id": c.id_card},
    lambda c: {"correlation_id": f"c-7{c.id_card.lower()}", "reply_to": "replies"},
    lambda c: {"reply_to": f"r.{c.id_card}"},
    lambda c: {"headers": {c.id_card: c.name, "reason": c.mobile, "lastError": c.name}},
)
_PROPERTIES_OF_READABLE: tuple[Change, ...] = (
    *_PROPERTIES,
    lambda c: {"message_id": c.mobile, "correlation_id": c.mobile},
    lambda c: {"reply_to": f"r.{c.mobile}", "correlation_id": f"c-{c.bankcard}"},
    lambda c: {"headers": {"traceparent": f"00-{c.id_card}", "n": {"x": c.bankcard}}},
    lambda c: {"type": c.name, "app_id": c.id_card, "content_type": c.mobile},
    lambda c: {"content_encoding": c.id_card, "cluster_id": c.bankcard},
)
# Bytes that are no JSON in UTF-8, or too many.
_BODIES: tuple[Callable[[Canary, bytes], bytes], ...] = (
    lambda c, body: body[:-7],
    lambda c, body: body.decode().encode("utf-16"),
    lambda c, body: body.decode().encode("gb18030"),
    lambda c, body: body + body,
    lambda c, body: b"\xef\xbb\xbf" * 2 + body,
    lambda c, body: body.replace(b'"idCard"', b'"id\xffCard"'),
    lambda c, body: b"[" + body + b"]",
    lambda c, body: _dump(body.decode()),
    lambda c, body: f"<person>{c.name},{c.id_card},{c.mobile}</person>".encode(),
    lambda c, body: b"%s,%s" % (c.id_card.encode(), c.portrait),
    lambda c, body: body[:-1] + b',"fill":"' + c.name.encode() * 100_000 + b'"}',
    lambda c, body: body.replace(c.name.encode(), b"\\ud800" + c.name.encode()),
    lambda c, body: body[:-1] + b',"personalSpec":' + _dump(c.name) + b"}",
)


def refused_messages(people: People) -> Iterator[Message]:
    """Yield them all: but for what stands in properties, none is ever sent to the provider."""
    numbers = count()

    def person() -> Canary:
        return people.invent(f"refused-{next(numbers)}")

    for name, check_type in _VALUES.items():
        for wrong in _WRONG:
            c = person()
            value = wrong(str(c.user(check_type)[name]))
            yield _dump(_with(c, check_type, {name: value})), {}
    for change in _PERSONS:
        yield _dump(_with(c := person(), 2, change(c))), {}
    for number, change in enumerate(_REQUESTS):
        c = person()
        yield _dump({**c.request(0), **change(c)}, ascii_only=number % 2 == 0), {}
    for change in _PROPERTIES_OF_READABLE:
        yield _dump((c := person()).request(0)), change(c)
        yield _dump(_with(c := person(), 0, {"idCard": c.id_card[:17]})), change(c)
    for change in _PROPERTIES:
        yield _dump((c := person()).request(0))[:-1], change(c)
    for number, change_body in enumerate(_BODIES):
        c = people.invent(f"unreadable-{number}")
        named: dict[str, object] = {"message_id": c.label, "correlation_id": c.label}
        yield change_body(c, _dump(c.request(0))), named


def _with(canary: Canary, check_type: int, user: dict[str, object]) -> dict[str, object]:
    spec = {"checkType": check_type, "personalUser": {**canary.user(check_type), **user}}
    return {"requestId": canary.label, "personalSpec": spec}


def _dump(document: object, *, ascii_only: bool = False) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only).encode()
