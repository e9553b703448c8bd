"""In how many ways a value can be written: what the search looks for."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from tests.privacy.canaries import full_width, grouped, wrong_check_digit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.privacy.canaries import Canary

# Places of a portrait that are looked for: its beginning, its middle, its end.
_CUTS = (4, 2_700, 5_340)
_CUT = 48
_HASHES = ("md5", "sha1", "sha256", "sha512")


def needles(canary: Canary) -> Iterator[tuple[str, str, bytes]]:
    """Yield every (field, spelling, bytes) that must not be found anywhere."""
    for field, part, text in _texts(canary):
        for spelling, needle in written(text):
            yield field, f"{part}, {spelling}", needle
    for field, part, text in _whole(canary):
        for spelling, needle in digested(text.encode()):
            yield field, f"{part}, {spelling}", needle
    for place in _CUTS:
        piece = canary.portrait[place : place + _CUT]
        for spelling, needle in (("bytes", piece), *_encoded(piece)):
            yield "portrait", f"from byte {place}, {spelling}", needle
    for spelling, needle in digested(canary.portrait):
        yield "portrait", spelling, needle


def _whole(canary: Canary) -> Iterator[tuple[str, str, str]]:
    """Yield the values themselves, as sent in any way."""
    yield "name", "whole", canary.name
    yield "idCard", "whole", canary.id_card
    if canary.id_card.endswith("X"):
        yield "idCard", "lower case", canary.id_card.lower()
    yield "bankcard", "whole", canary.bankcard
    yield "mobile", "whole", canary.mobile


def _texts(canary: Canary) -> Iterator[tuple[str, str, str]]:
    """Yield the values, what is left of them where a mask stands, and how people write them."""
    yield from _whole(canary)
    name, id_card = canary.name, canary.id_card
    yield "name", "without its first character", name[1:]
    yield "name", "with blanks", " ".join(name)
    yield "name", "with wide blanks", "\u3000".join(name)
    yield "idCard", "without first and last", id_card[1:-1]
    yield "idCard", "date of birth and serial", id_card[6:17]
    yield "idCard", "region and date of birth", id_card[:14]
    yield "idCard", "wrong check digit", wrong_check_digit(id_card)
    yield "bankcard", "without its last four", canary.bankcard[:-4]
    yield "bankcard", "without first and last four", canary.bankcard[4:-4]
    for field, number, sizes in (
        ("idCard", id_card, (6, 8)),
        ("bankcard", canary.bankcard, (4, 4, 4, 4)),
        ("mobile", canary.mobile, (3, 4)),
    ):
        for separator in (" ", "-"):
            yield field, f"grouped by {separator!r}", grouped(number, separator, *sizes)
        yield field, "full width", full_width(number)


def written(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield a text's spellings."""
    plain = text.encode()
    yield "UTF-8", plain
    yield "UTF-16 little-endian", text.encode("utf-16-le")
    yield "UTF-16 big-endian", text.encode("utf-16-be")
    if not text.isascii():
        yield "GB 18030", text.encode("gb18030")
    yield from _escaped(text)
    yield from _encoded(plain)


def _escaped(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield what programs make of characters that they escape."""
    units = text.encode("utf-16-be").hex()
    codes = [units[place : place + 4] for place in range(0, len(units), 4)]
    points = [ord(each) for each in text]
    shapes: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("", str.lower),
        (", upper case", str.upper),
    )
    for suffix, case in shapes:
        yield f"JSON escapes{suffix}", "".join(f"\\u{case(code)}" for code in codes).encode()
        yield f"JSON in JSON{suffix}", "".join(f"\\\\u{case(code)}" for code in codes).encode()
        yield f"HTML hex{suffix}", "".join(f"&#x{case(f'{p:x}')};" for p in points).encode()
    yield "HTML decimal", "".join(f"&#{point};" for point in points).encode()
    if any(point > 0xFFFF for point in points):
        wide = "".join(
            f"\\U{point:08x}" if point > 0xFFFF else f"\\u{point:04x}" for point in points
        )
        yield "Python escapes", wide.encode()


def _encoded(plain: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield how bytes are carried in texts."""
    yield "hex", plain.hex().encode()
    yield "hex, upper case", plain.hex().upper().encode()
    yield "percent", "".join(f"%{byte:02X}" for byte in plain).encode()
    yield "percent, lower case", "".join(f"%{byte:02x}" for byte in plain).encode()
    if (usual := quote_from_bytes(plain).encode()) != plain:
        yield "percent, where needed", usual
    yield "bytes in Python", "".join(f"\\x{byte:02x}" for byte in plain).encode()
    yield "octal", "".join(f"\\{byte:03o}" for byte in plain).encode()
    yield "bytes in Erlang", ",".join(str(byte) for byte in plain).encode()
    yield "bytes in JSON", ", ".join(str(byte) for byte in plain).encode()
    for before in range(3):
        for suffix, encode in (("", base64.b64encode), (", URL-safe", base64.urlsafe_b64encode)):
            # What depends on the neighbours is cut off at both ends.
            whole = len(plain) - (len(plain) + before) % 3
            code = encode(b"\0" * before + plain[:whole])[(0, 2, 3)[before] :]
            yield f"base64 after {before} bytes{suffix}", code


def digested(plain: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the digests without a key, which anybody can try out."""
    for name in _HASHES:
        digest = hashlib.new(name, plain).digest()
        yield f"{name}, raw", digest
        yield f"{name}, hex", digest.hex().encode()
        yield f"{name}, hex, upper case", digest.hex().upper().encode()
        yield f"{name}, base64", base64.b64encode(digest)[:-4]
