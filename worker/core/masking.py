"""What may be shown of a person: masks for rows and logs, and a scrubber for foreign texts.

A vendor's program echoes a person's data in other spellings, too. Escapes of HTML and URLs and wide
digits are undone. Base64, hex and digests without a key are recognised by trying: what a run of
letters and digits decodes to is compared with the person.
"""

import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from worker.core.request import Person, PersonField
from worker.core.spelling import (
    BETWEEN,
    CONTROLS,
    LATIN_LETTERS,
    OTHER_DOTS,
    STANDARD_BASE64,
)


@dataclass(frozen=True, slots=True)
class Masked:
    """A person as rows show it: `张*`, `1****************X`, the card's last four digits.

    In the order of `PersonField`.
    """

    name: str | None = None
    id_card: str | None = None
    bankcard: str | None = None
    mobile: str | None = None
    portrait: str | None = None


NOBODY = Masked()


def mask_id_card(number: str) -> str:
    """Keep the first and the last character; a number that was not checked may be short."""
    hidden = "*" * len(number)
    return number[0] + hidden[2:] + number[-1] if len(number) > 2 else hidden


_MASKS: dict[PersonField, Callable[[str], str]] = {
    PersonField.NAME: lambda name: name[0] + "*" * (len(name) - 1),
    PersonField.ID_CARD: mask_id_card,
    PersonField.BANKCARD: lambda number: "*" * (len(number) - 4) + number[-4:],
    PersonField.MOBILE: lambda number: number[:3] + "****" + number[-4:],
    PersonField.PORTRAIT: lambda encoded: f"<image {len(encoded) * 3 // 4 // 1000} kB>",
}


def mask_field(field: PersonField, value: str) -> str:
    """Return what may be shown of one field: of an image, its size and nothing else."""
    return _MASKS[field](value)


def mask(person: Person) -> Masked:
    """Return what a row may show of a person."""
    given = person.fields
    return Masked(*(mask_field(each, given[each]) if each in given else None for each in _MASKS))


# A run of digits as long as a mobile number or longer, with what people put between the digits,
# can be a person's number; order numbers go with them, the provider's requestId stays.
_LONG_NUMBER = re.compile(rf"[0-9](?:{BETWEEN}{{0,3}}[0-9]){{10,}}[Xx]?")
_CONTROL = re.compile(f"[{CONTROLS}]")
# A cell that a person reads; JD's own answers stay below 200 characters.
TEXT_LIMIT = 500


def scrub(text: str, person: Person | None, limit: int = TEXT_LIMIT) -> str:
    """Return a foreign text without a person's data, control characters or excess length.

    The person's own values are replaced by their masks, however they are spelt;
    then every number as long as a mobile number is, whoever it belongs to. At most `limit`
    characters.
    """
    text = _CONTROL.sub(" ", decoded(text))
    for field, value in () if person is None else person.fields.items():
        if field is PersonField.PORTRAIT:
            continue
        if field is PersonField.NAME and (words := _latin_words(value)):
            any_of_them = re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)
            text = any_of_them.sub(lambda word: mask_field(PersonField.NAME, word[0]), text)
        for spelling in _spellings(field, value):
            if spelling in text:
                text = text.replace(spelling, mask_field(field, value))
    text = _LONG_NUMBER.sub("***", text)
    if person is None:
        return text[:limit]
    text = without_codes(text, person)[:limit]
    portrait = person.fields.get(PersonField.PORTRAIT)
    return "<image>"[:limit] if portrait and _shows_piece(text, portrait) else text


# An image may be echoed whole, in part or in groups. The text is searched in windows of so many
# characters, so a part of twice that length holds a whole window. A shorter part is at most 17
# bytes of a compressed picture.
_PIECE = 12


def _shows_piece(text: str, portrait: str) -> bool:
    """Return whether a text has a piece of an image, as base64, however it is spaced."""
    packed = "".join(text.split()).translate(STANDARD_BASE64)
    windows = (packed[at : at + _PIECE] for at in range(0, len(packed) - _PIECE + 1, _PIECE))
    return any(window in portrait for window in windows if window.isascii())


def _spellings(field: PersonField, value: str) -> tuple[str, ...]:
    """Return how a value may stand in a text; the whole name comes before the given name."""
    if field is not PersonField.NAME:
        return (value, value.lower())
    whole = [value, " ".join(value), "\u3000".join(value)]
    parts = [value[1:]]
    if "·" in value:
        names = value.split("·")
        whole += [dot.join(names) for dot in _DOTS]
        parts += [*names, names[0][1:]]
    # One character is an ordinary word.
    return (*whole, *(part for part in parts if len(part) > 1))


# The dot of a name from another language as others write it, or leave it out.
_DOTS = (*OTHER_DOTS, "\uff0e", "\uff65", " ", "\u3000", "")


def _latin_words(name: str) -> list[str]:
    """Return the words of a name in Latin letters, all of them as one first; none of another.

    A vendor writes them in other cases, in another order, or each by itself.
    """
    words = _LATIN_WORD.findall(name)
    return ["".join(words), *(word for word in words if len(word) > 1)] if words else []


# Other spellings.

_LATIN_WORD = re.compile(f"[{LATIN_LETTERS}]+")
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
    if any(text.upper() in folded for text in texts):
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
    given = person.fields
    texts = [value for field, value in given.items() if field is not PersonField.PORTRAIT]
    return texts + _latin_words(given.get(PersonField.NAME, ""))[:1]


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
    run = run.translate(STANDARD_BASE64)
    for start in range(4):
        part = run[start:]
        part = part[: len(part) - (len(part) % 4 == 1)]
        try:
            yield binascii.a2b_base64(part + "=" * (-len(part) % 4))
        except binascii.Error:
            continue
