"""A provider that repeats the person's data wherever an answer has room for it.

It stands for the worst that a vendor behind JD Cloud may do: the sandbox is far too polite. Each
call gets the next answer of `ANSWERS`; it checks no signature and logs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from local_ports import LOOPBACK
from tests.privacy.canaries import full_width, grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Person = dict[str, str]
    Answer = Callable[[Person], "Raw"]


class Raw(NamedTuple):
    """An answer: its first line after the version, its headers and its body, byte for byte."""

    status: str
    headers: dict[str, str]
    body: bytes


def _texts(person: Person) -> str:
    """Return all values of a person in one text."""
    return " ".join(person.values())


def _info(message: str, detail: object, code: str = "ok", **more: object) -> dict[str, object]:
    flags = {"success": True, "hasException": False, **more}
    return {**flags, "code": code, "message": message, "detail": detail}


def _json(document: object, status: str = "200 OK", *, ascii_only: bool = False) -> Raw:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    return Raw(status, {"Content-Type": "application/json"}, body)


def _answer(request_id: str, info: dict[str, object], *, ascii_only: bool = False) -> Raw:
    result = {"authInfo": info}
    return _json({"requestId": request_id, "result": result}, ascii_only=ascii_only)


def _error(status: str, word: str, person: Person) -> Raw:
    said = {"status": word, "message": _texts(person), "details": [person], "code": 0}
    return _json({"requestId": person["idCard"], "error": said}, status)


def _page(status: str, person: Person) -> Raw:
    entities = "".join(f"&#{ord(each)};" for each in person["name"])
    body = f"<html><title>{_texts(person)}</title><p>{entities}</html>".encode()
    return Raw(status, {"Content-Type": "text/html", "Server": _latin(person)}, body)


def _latin(person: Person) -> str:
    """Return what of a person can stand in a header."""
    return f"{person['idCard']} {quote(person['name'])} {person.get('mobile', '')}"


def _flat(person: Person) -> Raw:
    info = _info(_texts(person), person, person["name"], success=False)
    return _json({"requestId": person["name"], "result": info})


def _no_record(person: Person) -> Raw:
    return _answer(
        "id-" + person["idCard"], _info(f"库中无此号 {_texts(person)}", "", success=False)
    )


def _nested(person: Person) -> Raw:
    """Answer with the person in JSON in JSON in JSON, every character escaped."""
    detail = json.dumps({"orderNumber": "1", "said": json.dumps(person), "chargeFlag": "1"})
    return _answer("nested", _info(json.dumps(person), detail), ascii_only=True)


def _grouped(person: Person) -> Raw:
    number, card = person["idCard"], person.get("bankcard", "")
    words = [number.lower(), grouped(number, " ", 6, 8), grouped(number, "-", 6, 8)]
    words += [grouped(card, " ", 4, 4, 4, 4), grouped(card, "-", 4, 4, 4, 4)] if card else []
    words += [number[:14], number[6:17], number[:17]]
    return _answer("grouped", _info("; ".join(words), {"words": words}))


def _spaced(person: Person) -> Raw:
    name = person["name"]
    words = [" ".join(name), "\u3000".join(name), name[1:], full_width(person["idCard"])]
    return _answer("spaced", _info("; ".join(words), words, success=False))


def _coded(person: Person) -> Raw:
    words = []
    for value in (person["name"], person["idCard"]):
        plain = value.encode()
        words += [quote(value), "".join(f"&#{ord(each)};" for each in value)]
        words += [base64.b64encode(plain).decode(), plain.hex(), hashlib.md5(plain).hexdigest()]  # noqa: S324
    return _answer("coded", _info(words[0], words))


def _digested(person: Person) -> Raw:
    plain = person["idCard"].encode()
    words = [hashlib.new(each, plain).hexdigest() for each in ("md5", "sha1", "sha256")]
    return _answer(words[0], _info(words[2], words[1:], words[0]))


def _portrait(person: Person) -> Raw:
    image = person.get("imgBase64", _texts(person))
    return _answer("image", _info(image[:400], image))


def _header_lines(person: Person) -> Raw:
    kept = {"Content-Type": "application/json", "Retry-After": f"0; {person['idCard']}"}
    return Raw(f"429 {person['idCard']}", {**kept, "X-Person": _latin(person)}, b"{}")


# Each again and again; one that the worker repeats is followed by another at its next attempt.
ANSWERS: tuple[Answer, ...] = (
    lambda person: _answer(person["idCard"], _info(_texts(person), person, person["idCard"])),
    _flat,
    _no_record,
    _nested,
    _grouped,
    _spaced,
    _coded,
    _digested,
    _portrait,
    lambda person: _answer("ex", _info(_texts(person), _texts(person), hasException=True)),
    lambda person: _answer("twice", _info(_texts(person), "", _texts(person), success=None)),
    lambda person: _error("400 Bad Request", f"INVALID_{person['idCard']}", person),
    lambda person: _error("404 Not Found", person["idCard"], person),
    lambda person: _error("500 Internal", person["name"], person),
    lambda person: _page("503 Unavailable", person),
    lambda person: _page("200 OK", person),
    lambda person: Raw("307 Moved", {"Location": f"/?who={quote(_texts(person))}"}, b""),
    lambda person: _json([person]),
    lambda person: _json(_texts(person)),
    lambda person: Raw("200 OK", {}, json.dumps(person).encode()[:-9]),
    lambda person: Raw("200 OK", {"Content-Length": person["idCard"]}, b"{}"),
    lambda person: Raw("200 OK", {"Transfer-Encoding": "chunked"}, person["idCard"].encode()),
    lambda person: Raw(person["idCard"], {}, _texts(person).encode()),
)

# These once, for they park the worker, and each time for longer; between them come answers that
# resume it.
PARKING: tuple[Answer, ...] = (
    lambda person: _error("401 Unauthorized", person["idCard"][:17], person),
    *(_flat,) * 4,
    lambda person: _error("429 Too Many", "QUOTA_EXCEEDED", person),
    *(_flat,) * 4,
    _header_lines,
    *(_flat,) * 4,
)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        person = json.loads(body)["personalSpec"]["personalUser"]
        answer = next(self.server.answers)(person)  # type: ignore[attr-defined]
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        if "Transfer-Encoding" in headers:
            del headers["Content-Length"]
        lines = [f"HTTP/1.1 {answer.status}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        self.wfile.write("\r\n".join(lines).encode("latin-1", "replace") + answer.body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def echoing_provider() -> Iterator[str]:
    """Run it and give its URL."""
    with ThreadingHTTPServer((LOOPBACK, 0), _Handler) as server:
        server.answers = itertools.chain(PARKING, itertools.cycle(ANSWERS))  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/v1/personal"
        finally:
            server.shutdown()
            thread.join()
