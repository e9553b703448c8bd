"""A provider that repeats the person's data wherever an answer has room for it.

It stands for the worst that a vendor behind JD Cloud may do: the sandbox is far too polite. Each
call gets the next answer of `ANSWERS`; it checks no signature and logs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from tests.privacy.canaries import full_width, grouped
from tests.privacy.observation import http_server

Person = dict[str, str]
Answer = Callable[[Person], bytes]


def _raw(status: str, body: bytes, **headers: str) -> bytes:
    """Return an answer byte for byte, with a right length unless the headers have one."""
    if "Transfer_Encoding" not in headers:
        headers = {"Content_Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""])
    return head.encode("latin-1", "replace") + body


def _json(document: object, status: str = "200 OK", *, ascii_only: bool = False) -> bytes:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    return _raw(status, body, Content_Type="application/json")


def _answer(
    request_id: str, message: str, detail: object, *, ascii_only: bool = False, **more: object
) -> bytes:
    info = {"success": True, "hasException": False, "code": "ok", **more}
    result = {"authInfo": {**info, "message": message, "detail": detail}}
    return _json({"requestId": request_id, "result": result}, ascii_only=ascii_only)


def _error(status: str, word: str, person: Person) -> bytes:
    said = {"status": word, "message": _all(person), "details": [person], "code": 0}
    return _json({"requestId": person["idCard"], "error": said}, status)


def _page(status: str, person: Person) -> bytes:
    entities = "".join(f"&#{ord(each)};" for each in person["name"])
    body = f"<html><title>{_all(person)}</title><p>{entities}</html>".encode()
    return _raw(status, body, Content_Type="text/html", Server=_latin(person))


def _all(person: Person) -> str:
    """Return all values of a person in one text."""
    return " ".join(person.values())


def _latin(person: Person) -> str:
    """Return what of a person can stand in a header."""
    return f"{person['idCard']} {quote(person['name'])} {person.get('mobile', '')}"


def _flat(person: Person) -> bytes:
    info = {"success": False, "hasException": False, "code": person["name"]}
    said = {**info, "message": _all(person), "detail": person}
    return _json({"requestId": person["name"], "result": said})


def _nested(person: Person) -> bytes:
    """Answer with the person in JSON in JSON in JSON, every character escaped."""
    detail = json.dumps({"orderNumber": "1", "said": json.dumps(person), "chargeFlag": "1"})
    return _answer("nested", json.dumps(person), detail, ascii_only=True)


# Spellings that somebody may choose who writes about a person.
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str.lower,
    lambda value: value[1:],
    lambda value: value[:-1],
    lambda value: grouped(value, " ", 4, 4, 4),
    lambda value: grouped(value, "-", 6, 8),
    " ".join,
    "\u3000".join,
    quote,
    lambda value: "".join(f"&#{ord(each)};" for each in value),
    lambda value: base64.b64encode(value.encode()).decode(),
    lambda value: value.encode().hex(),
    lambda value: hashlib.md5(value.encode()).hexdigest(),  # noqa: S324
    lambda value: hashlib.sha1(value.encode()).hexdigest(),  # noqa: S324
    lambda value: hashlib.sha256(value.encode()).hexdigest(),
)


def _spelled(spell: Callable[[str], str]) -> Answer:
    def answer(person: Person) -> bytes:
        words = [spell(value) for name, value in person.items() if name != "imgBase64"]
        return _answer(words[1], "; ".join(words), words, success=len(words) > 2)

    return answer


# Each again and again; one that the worker repeats is followed by another at its next attempt.
ANSWERS: tuple[Answer, ...] = (
    lambda p: _answer(p["idCard"], _all(p), p, code=p["idCard"]),
    _flat,
    lambda p: _answer("id-" + p["idCard"], f"库中无此号 {_all(p)}", "", success=False),
    _nested,
    *map(_spelled, _SPELLINGS),
    lambda p: _answer("width", full_width(p["idCard"]), ""),
    lambda p: _answer("portrait", p.get("imgBase64", "")[:400], p.get("imgBase64", "")),
    lambda p: _answer("exception", _all(p), _all(p), hasException=True),
    lambda p: _answer("contradictory", _all(p), "", code=_all(p), success=None),
    lambda p: _error("400 Bad Request", f"INVALID_{p['idCard']}", p),
    lambda p: _error("404 Not Found", p["idCard"], p),
    lambda p: _error("500 Internal", p["name"], p),
    lambda p: _page("503 Unavailable", p),
    lambda p: _page("200 OK", p),
    lambda p: _raw("307 Moved", b"", Location=f"/?who={quote(_all(p))}"),
    lambda p: _json([p]),
    lambda p: _json(_all(p)),
    lambda p: _raw("200 OK", json.dumps(p).encode()[:-9]),
    lambda p: _raw("200 OK", b"{}", Content_Length=p["idCard"]),
    lambda p: _raw("200 OK", p["idCard"].encode(), Transfer_Encoding="chunked"),
    lambda p: _raw(p["idCard"], _all(p).encode()),
)

# These once, for they park the worker, and each time for longer; between them come answers that
# resume it.
PARKING: tuple[Answer, ...] = (
    lambda p: _error("401 Unauthorized", p["idCard"][:17], p),
    *(_flat,) * 4,
    lambda p: _error("429 Too Many", "QUOTA_EXCEEDED", p),
    *(_flat,) * 4,
    lambda p: _raw(
        f"429 {p['idCard']}",
        b"{}",
        Content_Type="application/json",
        Retry_After=f"0; {p['idCard']}",
        X_Person=_latin(p),
    ),
    *(_flat,) * 4,
)


@contextmanager
def echoing_provider() -> Iterator[str]:
    """Run it and give its URL."""
    answers = itertools.chain(PARKING, itertools.cycle(ANSWERS))

    def answer(body: bytes) -> bytes:
        return next(answers)(json.loads(body)["personalSpec"]["personalUser"])

    with http_server(answer) as url:
        yield f"{url}/v1/personal"
