"""A person's data in other spellings: what a vendor's program makes of a text that it echoes.

Escapes of HTML and URLs and wide digits are undone. Base64, hex and digests without a key are
recognised by trying: what a run of letters and digits decodes to is compared with the person.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from worker.core.request import PersonField

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.core.request import Person

_ESCAPED_PERCENT = re.compile(r"%(?:25)+(?=[0-9A-Fa-f]{2})")
# A character of Chinese takes three of these.
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2}){3,}")
_ENTITY = re.compile(r"&(?:amp;)*#(?:[xX]([0-9A-Fa-f]{1,6})|([0-9]{1,7}));?")
_WIDE = re.compile("[\uff10-\uff19\uff0d\uff38\uff58]")
_WIDTH = 0xFEE0
_LAST_CODE_POINT = 0x10FFFF
# A name of two characters has six bytes: eight letters of base64.
_RUN = re.compile(r"[0-9A-Za-z+/_-]{8,}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
# Words of the provider's own in nearly every answer; trying each of them costs 10 us.
_ORDINARY = frozenset({"chargeFlag", "orderNumber", "hasException"})
_TO_STANDARD = str.maketrans("-_", "+/")
_DIGESTS = {16: hashlib.md5, 20: hashlib.sha1, 32: hashlib.sha256, 64: hashlib.sha512}
# Eight digits of a number in a row are no accident: a date of birth has as many.
_DIGITS = re.compile(r"[0-9]{8,}")
_WINDOW = 8


def decoded(text: str) -> str:
    """Return a text with what is escaped for HTML or a URL, or written wide, as it is meant."""
    if "%" in text:
        text = _ESCAPED_PERCENT.sub("%", text)
        text = _PERCENT.sub(lambda run: unquote(run[0], errors="replace"), text)
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    return text if text.isascii() else _WIDE.sub(_narrow, text)


def without_codes(text: str, person: Person) -> str:
    """Return a text in which `***` stands for every run that is a code of the person's data."""
    texts = _texts(person)
    return _RUN.sub(lambda run: "***" if _is_code(run[0], texts) else run[0], text)


def holds(word: str, person: Person) -> bool:
    """Return whether a word, such as an id, holds a person's value, a part or a code of it."""
    folded, texts = word.upper(), _texts(person)
    if any(text in folded for text in texts):
        return True
    for run in _DIGITS.findall(word):
        windows = [run[at : at + _WINDOW] for at in range(len(run) - _WINDOW + 1)]
        if any(window in text for window in windows for text in texts):
            return True
    return any(_is_code(run, texts) for run in _RUN.findall(word))


def _character(entity: re.Match[str]) -> str:
    code = int(entity[1], 16) if entity[1] else int(entity[2])
    return chr(code) if code <= _LAST_CODE_POINT else " "


def _narrow(wide: re.Match[str]) -> str:
    return chr(ord(wide[0]) - _WIDTH)


def _texts(person: Person) -> list[str]:
    return [value for field, value in person.fields.items() if field is not PersonField.PORTRAIT]


def _is_code(run: str, texts: list[str]) -> bool:
    if run in _ORDINARY:
        return False
    plain = [text.encode() for text in texts]
    if _HEX.fullmatch(run):
        return _is_one(bytes.fromhex(run[: len(run) & ~1]), plain)
    return any(_is_one(decoded, plain) for decoded in _decodings(run))


def _is_one(decoded: bytes, plain: list[bytes]) -> bool:
    if (digest := _DIGESTS.get(len(decoded))) is not None:
        spellings = {*plain, *map(bytes.lower, plain)}
        if any(digest(each, usedforsecurity=False).digest() == decoded for each in spellings):
            return True
    return any(each in decoded for each in plain)


def _decodings(run: str) -> Iterator[bytes]:
    """Yield what base64 may stand for that begins at any of a run's first places."""
    run = run.translate(_TO_STANDARD)
    for start in range(4):
        part = run[start:]
        part = part[: len(part) - (len(part) % 4 == 1)]
        try:
            yield binascii.a2b_base64(part + "=" * (-len(part) % 4))
        except binascii.Error:
            continue
