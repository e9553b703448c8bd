"""Messages that somebody might send who means no good, and how each must end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.harness import request

TRAP = "trap"
"""A queue that no message of the worker's may ever reach."""
NAME, ID_CARD = "欧阳测试", "11010519491231002X"
"""The person in all of these messages: neither may stand in a log, an event or a row."""

RED = "\x1b[31mred\x1b[0m"
FORGED = 'end\n{"event":"message.settled","action":"completed"}\r\n2026-01-01 [info] forged'
BIDI = "abc\u202egnp.exe"
SQL = "'; DROP TABLE verification.request; --"
LOOK_UP = "${jndi:ldap://h/a} %s%n {0.__class__} $(id) `id` ../../etc/passwd"
NOT_UTF_8 = b"\xff\xfe\x80caf\xe9"
NUL = "nul\0"

HUGE = "9" * 5_000
"""A number of more digits than Python's own parser takes."""
DEEP = 5_000
"""Levels; Python's own parsers give up at 1,000."""


@dataclass(frozen=True, slots=True)
class MaliciousMessage:
    """One message. It `ends` as a row with that outcome, or as a dead letter with that reason."""

    name: str
    ends: str
    body: bytes = field(repr=False)
    properties: dict[str, Any] = field(default_factory=dict, repr=False)
    request_id: str = ""


def malicious_messages() -> list[MaliciousMessage]:
    """Return all of them."""
    return [*_properties(), *_headers(), *_texts(), *_structures(), *_bytes()]


def _each(
    name: str, ends: str, values: Iterable[Any], make: Callable[[str, Any], bytes]
) -> Iterator[MaliciousMessage]:
    """Make a message of each value, by its name and itself."""
    for number, value in enumerate(values):
        numbered = f"{name}-{ends}-{number}"
        yield MaliciousMessage(numbered, ends, make(numbered, value))


def _body(request_id: str, **more: object) -> bytes:
    return json.dumps(request(request_id, ID_CARD, NAME, **more), ensure_ascii=True).encode()


def _user(request_id: str, **user: object) -> bytes:
    person = {"name": NAME, "idCard": ID_CARD, **user}
    spec = {"checkType": 2, "personalUser": person}
    return json.dumps({"requestId": request_id, "personalSpec": spec}).encode()


# They become routing keys, properties of events, log lines.
_OF_PROPERTIES: list[tuple[str, str, list[Any]]] = [
    ("reply_to", "match", [TRAP, "#", "*.*", "r" * 255, "amq.rabbitmq.reply-to.g1h2AA"]),
    ("reply_to", "rejected", [FORGED, RED, BIDI, NUL, NOT_UTF_8, NOT_UTF_8 * 30]),
    ("reply_to", "rejected", [f"to {ID_CARD}", ID_CARD]),
    # Bytes that are no text are shown as replacement marks.
    ("correlation_id", "match", [SQL, LOOK_UP, "c" * 255, NOT_UTF_8]),
    ("correlation_id", "rejected", [FORGED, RED, BIDI, NUL, ID_CARD.lower()]),
]


def _properties() -> Iterator[MaliciousMessage]:
    for group, (property_, ends, values) in enumerate(_OF_PROPERTIES):
        for number, value in enumerate(values):
            name = f"{property_}-{group}-{number}"
            yield MaliciousMessage(name, ends, _body(name), {property_: value})
    for number, value in enumerate((FORGED, RED, BIDI, NUL, ID_CARD, "m" * 255)):
        body = _body("").replace(b"{", b"{ " + b" " * number, 1)
        yield MaliciousMessage(f"id-{number}", "no_usable_id", body, {"message_id": value}, value)
    for value in (SQL, LOOK_UP):
        yield MaliciousMessage(f"id-{value}", "match", _body(""), {"message_id": value}, value)
    others = {"content_encoding": "exi", "content_type": "text/html", "type": RED, "app_id": SQL}
    yield MaliciousMessage("others", "match", _body("others"), {**others, "priority": 255})


def _headers() -> Iterator[MaliciousMessage]:
    """Headers: RabbitMQ acts on some of them, and none is ours to pass on."""
    nested: dict[str, Any] = {}
    for _ in range(200):
        nested = {"n": nested}
    death = {"count": 10_000, "queue": "verification.requests", "reason": "rejected"}
    copies = {"CC": [TRAP], "BCC": [TRAP]}
    for name, headers in {
        "cc": copies,
        "cc-odd": {"CC": [RED, SQL]},
        "x-death": {"x-death": [death], "x-delivery-count": 10_000, "x-acquired-count": -1},
        "ours": {"reason": FORGED, "attempts": 10**9, "lastError": RED, "outcome": "match"},
        "odd-names": {RED: RED, FORGED[:100]: 1, "": "", ID_CARD: NAME},
        "many": {f"h{number}": "v" * 90 for number in range(1_000)},
        "large": {"h": "v" * 100_000},
        "nested": nested,
        "trace-forged": {"traceparent": FORGED},
        "trace-long": {"traceparent": "0" * 60_000},
        "trace-odd": {"traceparent": [1, {"a": None}]},
        "trace-extra": {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01\n"},
    }.items():
        yield MaliciousMessage(name, "match", _body(name), {"headers": headers})
    # Through a retry queue and into the dead queue: published by us to the default exchange,
    # where a CC of the sender's would name any queue.
    recovers = json.dumps(request("cc-retried", "119999194912310363", NAME)).encode()
    yield MaliciousMessage("cc-retried", "match", recovers, {"headers": copies})
    trace = {"traceparent": f"00-{ID_CARD}-{FORGED}"}
    yield MaliciousMessage("trace-dead", "not_json", b"{trace", {"headers": trace})
    yield MaliciousMessage("cc-dead", "not_json", b"{cc", {"headers": copies})


def _texts() -> Iterator[MaliciousMessage]:
    """Texts in the body: they become rows, log lines and events."""
    for text in (f"{SQL} ", f"{LOOK_UP} ", "__proto__", "<b>&amp;", "汉" * 128):
        ends = "match" if text == text.strip() else "rejected"
        yield MaliciousMessage(f"id-{text}", ends, _body(text), {}, text)
    ids = (FORGED, RED, BIDI, NUL, "i" * 129, ID_CARD)
    yield from _each("id", "no_usable_id", ids, lambda _, text: _body(text))
    yield from _each("id", "not_json", ["\ud800"], lambda _, text: _body(text))
    sources = (SQL, FORGED, RED, "../x", "a" * 65, "A", "", ID_CARD.lower())
    yield from _each("source", "rejected", sources, lambda name, x: _body(name, source=x))
    times = (SQL, FORGED, "2026-12-01", "9999-12-31T23:59:59-23:59", "")
    yield from _each("time", "rejected", times, lambda name, x: _body(name, expiresAt=x))
    names = (SQL, FORGED, RED, BIDI, NUL, "a", "汉" * 51, LOOK_UP)
    yield from _each("name", "rejected", names, lambda name, x: _user(name, name=x))
    cards: tuple[object, ...] = (SQL, FORGED, RED, f"{ID_CARD}\n1", 10**17, None, [], {}, True)
    yield from _each("card", "rejected", cards, lambda name, x: _user(name, idCard=x))
    contexts: tuple[object, ...] = ({"n": NUL}, {"t": "c" * 2048}, {"id": ID_CARD}, [], "x")
    yield from _each("context", "rejected", contexts, lambda name, x: _body(name, context=x))
    context = {"__proto__": {"admin": True}, "constructor": FORGED, RED: SQL, BIDI: BIDI}
    yield MaliciousMessage("context", "match", _body("context", context=context))


def _structures() -> Iterator[MaliciousMessage]:
    """Structures: fields that are not ours, nesting, numbers."""
    keys = ("__proto__", RED, FORGED, ID_CARD, BIDI, "", "personalSpec.x")
    yield from _each("field", "rejected", keys, lambda name, key: _body(name, **{key: ID_CARD}))
    unknown = {f"field{number}": number for number in range(20_000)}
    yield MaliciousMessage("fields", "rejected", _body("fields", **unknown))

    def with_number(name: str, text: str) -> bytes:
        return f'{_body(name).decode()[:-1]}, "context": {{"n": {text}, "of": "{name}"}}}}'.encode()

    numbers = ("1e999", "NaN", "Infinity", "1" + "0" * 400)
    yield from _each("number", "rejected", numbers, with_number)
    yield from _each("number", "match", ["-0"], with_number)
    yield from _each("number", "not_json", [HUGE, "[" * DEEP + "]" * DEEP], with_number)
    deep = (b"[" * 100_000, b'{"a":' * 100_000)
    yield from _each("deep", "not_json", deep, lambda _, body: body)
    yield MaliciousMessage("twice", "match", b'{"requestId":"first",' + _body("twice")[1:])


def _bytes() -> Iterator[MaliciousMessage]:
    """Bytes that are no JSON in UTF-8, or too many."""
    good = _body("bytes")
    unreadable = (
        b"",
        b"\0" * 10,
        NOT_UTF_8,
        good.decode().encode("utf-16"),
        good.replace(b"bytes", b"by\xfftes"),
        good.replace(b"bytes", b"by\0tes"),
        b"\x1f\x8b\x08\x00" + good,
        b"\x80\x04\x95.",
        good + good,
        b"<request/>",
    )
    yield from _each("bytes", "not_json", unreadable, lambda _, body: body)
    values = (b"[]", b'"text"', b"1", b"null")
    yield from _each("value", "not_an_object", values, lambda _, body: body)
    large = (b" " * 5_000_000, _user("large-json", name="x" * 1_048_577))
    yield from _each("large", "too_large", large, lambda _, body: body)
