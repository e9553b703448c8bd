"""Messages that somebody might send who means no good, and how each must end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.harness import request

if TYPE_CHECKING:
    from collections.abc import Iterator

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

HUGE = "9" * 5_000
"""A number of more digits than Python's own parser takes."""
DEEP = 5_000
"""Levels; Python's own parsers give up at 1,000."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """One message. It `ends` as a row with that outcome, or as a dead letter with that reason."""

    name: str
    ends: str
    body: bytes = field(repr=False)
    properties: dict[str, Any] = field(default_factory=dict, repr=False)
    request_id: str = ""


def hostile_messages() -> list[Hostile]:
    """Return all of them."""
    return [*_properties(), *_headers(), *_texts(), *_structures(), *_bytes()]


def _body(request_id: str, **more: object) -> bytes:
    return json.dumps(request(request_id, ID_CARD, NAME, **more), ensure_ascii=True).encode()


def _user(request_id: str, **user: object) -> bytes:
    person = {"name": NAME, "idCard": ID_CARD, **user}
    spec = {"checkType": 2, "personalUser": person}
    return json.dumps({"requestId": request_id, "personalSpec": spec}).encode()


def _properties() -> Iterator[Hostile]:
    """Properties: they become routing keys, properties of events, log lines."""
    for number, (ends, value) in enumerate(
        [
            ("match", TRAP),  # the name of a queue
            ("match", "#"),
            ("match", "*.*"),
            ("match", "r" * 255),
            ("match", "amq.rabbitmq.reply-to.g1h2AA"),
            ("rejected", FORGED),
            ("rejected", RED),
            ("rejected", BIDI),
            ("rejected", "nul\0"),
            ("rejected", NOT_UTF_8),
            ("rejected", NOT_UTF_8 * 30),
            ("rejected", f"to {ID_CARD}"),
            ("rejected", ID_CARD),
        ]
    ):
        name = f"reply-to-{number}"
        yield Hostile(name, ends, _body(name), {"reply_to": value})
    for number, (ends, value) in enumerate(
        [
            ("match", SQL),
            ("match", LOOK_UP),
            ("match", "c" * 255),
            ("match", NOT_UTF_8),  # bytes that are no text are shown as replacement marks
            ("rejected", FORGED),
            ("rejected", RED),
            ("rejected", BIDI),
            ("rejected", "nul\0"),
            ("rejected", ID_CARD.lower()),
        ]
    ):
        name = f"correlation-{number}"
        yield Hostile(name, ends, _body(name), {"correlation_id": value})
    for number, (ends, value) in enumerate(
        [("no_usable_id", x) for x in (FORGED, RED, BIDI, "nul\0", ID_CARD, "m" * 255)]
        + [("match", SQL), ("match", LOOK_UP)]
    ):
        body = _body("") if ends == "match" else _body("").replace(b"{", b"{ " + b" " * number, 1)
        yield Hostile(f"message-id-{number}", ends, body, {"message_id": value}, str(value))
    others = {"content_encoding": "gzip", "content_type": "text/html", "type": RED, "app_id": SQL}
    yield Hostile("others", "match", _body("others"), {**others, "priority": 255})


def _headers() -> Iterator[Hostile]:
    """Headers: RabbitMQ acts on some of them, and none is ours to pass on."""
    nested: dict[str, Any] = {}
    for _ in range(200):
        nested = {"n": nested}
    death = {"count": 10_000, "queue": "verification.requests", "reason": "rejected"}
    for name, headers in {
        "cc": {"CC": [TRAP], "BCC": [TRAP]},
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
        yield Hostile(name, "match", _body(name), {"headers": headers})
    # Through a retry queue and into the dead queue: published by us to the default exchange,
    # where a CC of the sender's would name any queue.
    recovers = json.dumps(request("cc-retried", "119999194912310363", NAME)).encode()
    yield Hostile("cc-retried", "match", recovers, {"headers": {"CC": [TRAP], "BCC": [TRAP]}})
    trace = {"traceparent": f"00-{ID_CARD}-{FORGED}"}
    yield Hostile("trace-dead", "not_json", b"{trace", {"headers": trace})
    yield Hostile("cc-dead", "not_json", b"{cc", {"headers": {"CC": [TRAP], "BCC": [TRAP]}})


def _texts() -> Iterator[Hostile]:
    """Texts in the body: they become rows, log lines and events."""
    for number, text in enumerate((f"{SQL} ", f"{LOOK_UP} ", "__proto__", "<b>&amp;", "汉" * 128)):
        yield Hostile(f"id-{number}", "match", _body(text), {}, text)
    for number, text in enumerate((FORGED, RED, BIDI, "nul\0", "\ud800", "i" * 129, ID_CARD)):
        ends = "not_json" if text == "\ud800" else "no_usable_id"
        yield Hostile(f"bad-id-{number}", ends, _body(text))
    for number, text in enumerate((SQL, FORGED, RED, "../x", "a" * 65, "A", "", ID_CARD.lower())):
        yield Hostile(f"source-{number}", "rejected", _body(f"source-{number}", source=text))
    for number, text in enumerate((SQL, FORGED, "2026-12-01", "9999-12-31T23:59:59-23:59", "")):
        yield Hostile(f"time-{number}", "rejected", _body(f"time-{number}", expiresAt=text))
    for number, text in enumerate((SQL, FORGED, RED, BIDI, "nul\0", "a", "汉" * 51, LOOK_UP)):
        yield Hostile(f"name-{number}", "rejected", _user(f"name-{number}", name=text))
    cards: list[object] = [SQL, FORGED, RED, f"{ID_CARD}\n1", 10**17, None, [], {}, True]
    for number, value in enumerate(cards):
        yield Hostile(f"card-{number}", "rejected", _user(f"card-{number}", idCard=value))
    context = {"__proto__": {"admin": True}, "constructor": FORGED, RED: SQL, BIDI: BIDI}
    yield Hostile("context", "match", _body("context", context=context))
    contexts: list[object] = [{"n": "nul\0"}, {"t": "c" * 2048}, {"id": ID_CARD}, [], "x"]
    for number, value in enumerate(contexts):
        yield Hostile(f"context-{number}", "rejected", _body(f"context-{number}", context=value))


def _structures() -> Iterator[Hostile]:
    """Structures: fields that are not ours, nesting, numbers."""
    for number, key in enumerate(("__proto__", RED, FORGED, ID_CARD, BIDI, "", "personalSpec.x")):
        name = f"field-{number}"
        yield Hostile(name, "rejected", _body(name, **{key: ID_CARD}))
    unknown = {f"field{number}": number for number in range(20_000)}
    yield Hostile("fields", "rejected", _body("fields", **unknown))
    many = _body("numbers").decode()
    for number, text in enumerate(("1e999", HUGE, "-0", "NaN", "Infinity", "1" + "0" * 400)):
        body = f'{many[:-1]}, "context": {{"n": {text}, "of": {number}}}}}'.replace(
            '"numbers"', f'"number-{number}"'
        )
        ends = {"-0": "match", HUGE: "not_json"}.get(text, "rejected")
        yield Hostile(f"number-{number}", ends, body.encode())
    deep = f'{many[:-1]}, "context": {{"n": {"[" * DEEP}{"]" * DEEP}}}}}'
    yield Hostile("deep", "not_json", deep.encode())
    yield Hostile("deep-lists", "not_json", b"[" * 100_000)
    yield Hostile("deep-objects", "not_json", b'{"a":' * 100_000)
    yield Hostile("twice", "match", b'{"requestId":"first",' + _body("twice")[1:])


def _bytes() -> Iterator[Hostile]:
    """Bytes that are no JSON in UTF-8, or too many."""
    good = _body("bytes")
    for number, body in enumerate(
        (
            b"",
            b"\0" * 10,
            NOT_UTF_8,
            b"\xef\xbb\xbf" + good,
            good.decode().encode("utf-16"),
            good.replace(b"bytes", b"by\xfftes"),
            good.replace(b"bytes", b"by\0tes"),
            b"\x1f\x8b\x08\x00" + good,
            b"\x80\x04\x95.",
            good + good,
            b"<request/>",
        )
    ):
        yield Hostile(f"bytes-{number}", "not_json", body)
    for number, body in enumerate((b"[]", b'"text"', b"1", b"null")):
        yield Hostile(f"value-{number}", "not_an_object", body)
    yield Hostile("large-body", "too_large", b" " * 5_000_000)
    yield Hostile("large-json", "too_large", _user("large-json", name="x" * 1_048_577))
