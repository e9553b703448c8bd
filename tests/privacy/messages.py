"""What publishers send that is not right, about a person of its own each time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.privacy.canaries import full_width, grouped, wrong_check_digit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.privacy.canaries import Aviary, Canary

    Change = Callable[[Canary], dict[str, object]]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as published; its person and body have no `repr`."""

    canary: Canary
    body: bytes = field(repr=False)
    properties: dict[str, Any] = field(default_factory=dict, repr=False)


def refused_messages(aviary: Aviary) -> list[Message]:
    """Return them all: none is ever sent to the provider."""
    return [*_fields(aviary), *_shapes(aviary), *_leaks(aviary), *_property_leaks(aviary),
            *_unreadable_leaks(aviary),             *_bytes(aviary)]  # fmt: skip


def _dump(document: object, *, ascii_only: bool = False) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only).encode()


def _with(canary: Canary, check_type: int, user: dict[str, object]) -> bytes:
    spec = {"checkType": check_type, "personalUser": {**canary.user(check_type), **user}}
    return _dump({"requestId": canary.label, "personalSpec": spec})


def _fields(aviary: Aviary) -> Iterator[Message]:
    """Yield values that fail their checks, or stand where they must not."""
    changes: tuple[Change, ...] = (
        lambda c: {"idCard": wrong_check_digit(c.id_card)},
        lambda c: {"idCard": full_width(c.id_card)},
        lambda c: {"idCard": grouped(c.id_card, " ", 6, 8)},
        lambda c: {"idCard": grouped(c.id_card, "-", 6, 8)},
        lambda c: {"idCard": c.id_card[:17]},
        lambda c: {"idCard": int(c.id_card[:17])},
        lambda c: {"idCard": [c.id_card]},
        lambda c: {"idCard": {c.id_card: c.name}},
        lambda c: {"idCard": f"{c.id_card} {c.name}"},
        lambda c: {"name": f"{c.name} {c.id_card}"},
        lambda c: {"name": " ".join(c.name)},
        lambda c: {"name": c.name * 11},
        lambda c: {"name": [c.name]},
        lambda c: {"name": None},
        lambda c: {"bankcard": c.bankcard},
        lambda c: {"mobile": c.mobile, "imgBase64": c.image},
        lambda c: {c.name: c.id_card, c.id_card: c.name},
        lambda c: {"id_card": c.id_card, "phone": c.mobile},
    )
    for number, change in enumerate(changes):
        canary = aviary.hatch(f"refused-field-{number}")
        yield Message(canary, _with(canary, 2, change(canary)))
    values: tuple[tuple[int, str, Callable[[str], object]], ...] = (
        (0, "bankcard", full_width),
        (0, "bankcard", lambda card: card + "x"),
        (0, "bankcard", int),
        (0, "mobile", lambda mobile: f"+1 {mobile}"),
        (4, "mobile", full_width),
        (4, "mobile", int),
        (4, "mobile", lambda mobile: mobile + mobile),
        (3, "imgBase64", lambda image: image[1:]),
        (3, "imgBase64", lambda image: image[:200]),
        (3, "imgBase64", lambda image: f"data:image/png;base64,,{image}"),
        (3, "imgBase64", lambda image: image[40:]),
    )
    for number, (check_type, name, change_value) in enumerate(values):
        canary = aviary.hatch(f"refused-value-{number}")
        value = change_value(str(canary.user(check_type)[name]))
        yield Message(canary, _with(canary, check_type, {name: value}))


def _shapes(aviary: Aviary) -> Iterator[Message]:
    """Yield requests of a wrong shape: unknown fields, wrong types, wrong times, keys twice."""
    changes: tuple[Change, ...] = (
        lambda c: {"idCard": c.id_card, "note": c.name},
        lambda c: {c.name: c.name, c.mobile: c.id_card},
        lambda c: {"source": c.name},
        lambda c: {"source": c.mobile},
        lambda c: {"source": [c.id_card]},
        lambda c: {"expiresAt": c.id_card},
        lambda c: {"expiresAt": [c.name]},
        lambda c: {"context": c.id_card},
        lambda c: {"context": {c.name: c.image}},
        lambda c: {"personalSpec": c.user(0)},
        lambda c: {"personalSpec": [c.user(0)]},
        lambda c: {"personalSpec": {"checkType": c.id_card, "personalUser": c.user(2)}},
        lambda c: {"personalSpec": {"checkType": 2, "personalUser": _dump(c.user(2)).decode()}},
        lambda c: {"personalSpec": {"checkType": 9, "personalUser": c.user(0)}},
        lambda c: {"personalSpec": {"checkType": 2, "personaluser": c.user(0)}},
        lambda c: {"requestId": [c.id_card]},
        lambda c: {"requestId": c.name * 40},
    )
    for number, change in enumerate(changes):
        canary = aviary.hatch(f"refused-shape-{number}")
        yield Message(canary, _dump({**canary.request(0), **change(canary)}))
    canary = aviary.hatch("refused-twice")
    twice = _dump(canary.request())[:-1] + b',"personalSpec":' + _dump(canary.name) + b"}"
    yield Message(canary, twice)


def _leaks(aviary: Aviary) -> Iterator[Message]:
    """Yield the person's numbers in fields that are kept: ids, sources, contexts."""
    changes: tuple[Change, ...] = (
        lambda c: {"requestId": c.id_card},
        lambda c: {"requestId": f"onb-{c.id_card.lower()}-1"},
        lambda c: {"requestId": f"onb-{c.mobile}"},
        lambda c: {"requestId": c.bankcard},
        lambda c: {"source": c.id_card.lower()},
        lambda c: {"source": f"web-{c.mobile}"},
        lambda c: {"context": {"id": c.id_card}},
        lambda c: {"context": {"deep": [{"card": int(c.bankcard)}]}},
        lambda c: {"context": {c.mobile: True}},
        lambda c: {"context": {"m": f"{c.mobile[:3]} {c.mobile[3:7]} {c.mobile[7:]}"}},
        lambda c: {"context": {"m": full_width(c.mobile)}},
        lambda c: {"requestId": f"onb {c.mobile[:3]}-{c.mobile[3:7]}-{c.mobile[7:]}"},
        lambda c: {"requestId": c.id_card, "personalSpec": None},
    )
    for number, change in enumerate(changes):
        canary = aviary.hatch(f"leak-{number}")
        document = {**canary.request(0), **change(canary)}
        yield Message(canary, _dump(document, ascii_only=number % 2 == 0))


def _property_leaks(aviary: Aviary) -> Iterator[Message]:
    """Yield the person's data in properties and headers, of readable messages and of others."""
    changes: tuple[Change, ...] = (
        lambda c: {"message_id": c.id_card},
        lambda c: {"message_id": c.mobile, "correlation_id": c.mobile},
        lambda c: {"correlation_id": c.id_card},
        lambda c: {"reply_to": c.id_card.lower(), "correlation_id": f"c-{c.bankcard}"},
        lambda c: {"reply_to": f"r.{c.mobile}"},
        lambda c: {"headers": {"person": c.name, c.id_card: c.mobile, "n": {"x": c.bankcard}}},
        lambda c: {"headers": {"traceparent": f"00-{c.id_card}", "reason": c.name}},
        lambda c: {"type": c.name, "app_id": c.id_card, "content_type": c.mobile},
        lambda c: {"content_encoding": c.id_card, "cluster_id": c.bankcard},
    )
    for number, change in enumerate(changes):
        canary = aviary.hatch(f"property-{number}")
        yield Message(canary, _dump(canary.request(0)), change(canary))
        canary = aviary.hatch(f"property-refused-{number}")
        yield Message(canary, _with(canary, 0, {"idCard": canary.id_card[:17]}), change(canary))


def _unreadable_leaks(aviary: Aviary) -> Iterator[Message]:
    """Yield ID numbers in the properties of messages of which nobody knows whom they are about."""
    changes: tuple[Change, ...] = (
        lambda c: {"correlation_id": c.id_card},
        lambda c: {"correlation_id": f"c-7{c.id_card.lower()}", "reply_to": "replies"},
        lambda c: {"reply_to": f"r.{c.id_card}"},
        lambda c: {"headers": {c.id_card: c.name, "reason": c.mobile, "lastError": c.name}},
        lambda c: {"message_id": c.id_card},
    )
    for number, change in enumerate(changes):
        canary = aviary.hatch(f"property-unreadable-{number}")
        yield Message(canary, _dump(canary.request(0))[:-1], change(canary))


def _bytes(aviary: Aviary) -> Iterator[Message]:
    """Yield bytes that are no JSON in UTF-8, or too many."""
    changes: tuple[Callable[[Canary, bytes], bytes], ...] = (
        lambda c, body: body[:-7],
        lambda c, body: body.decode().encode("utf-16"),
        lambda c, body: body.decode().encode("gb18030"),
        lambda c, body: body + body,
        lambda c, body: b"\xef\xbb\xbf" + body,
        lambda c, body: body.replace(b'"idCard"', b'"id\xffCard"'),
        lambda c, body: b"[" + body + b"]",
        lambda c, body: _dump(body.decode()),
        lambda c, body: f"<person>{c.name} {c.id_card}</person>".encode(),
        lambda c, body: f"{c.name},{c.id_card},{c.mobile}".encode(),
        lambda c, body: b"%s,%s" % (c.id_card.encode(), c.portrait),
        lambda c, body: body[:-1] + b',"fill":"' + c.name.encode() * 100_000 + b'"}',
        lambda c, body: body.replace(c.name.encode(), b"\\ud800" + c.name.encode()),
    )
    for number, change in enumerate(changes):
        canary = aviary.hatch(f"unreadable-{number}")
        named = {"message_id": canary.label, "correlation_id": canary.label}
        yield Message(canary, change(canary, _dump(canary.request(0))), named)
