"""The search: every spelling of every value, in any bytes, in one pass.

All needles have at least eight bytes, so wherever one stands, five bytes of it begin at a multiple
of four. These five are looked up in a table of all needles' pieces: the cost is that of a look-up
for each four bytes, however many needles there are. Long needles have a table of longer pieces, for
many of them begin alike.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from tests.privacy.canaries import Canary, full_width, grouped

_STEP = 4
# Five bytes, and three characters where each is written as `\u0031`.
_PIECES = (5, 18)
SHORTEST = _PIECES[0] + _STEP - 1

# Parts of a portrait that are looked for: its beginning, its middle, its end.
_CUTS = (4, 2_700, 5_340)
_CUT = 48


class Needle(NamedTuple):
    """One spelling of one value; printing it shows whose and which, never the value."""

    label: str
    field: str
    spelling: str
    content: bytes

    def __repr__(self) -> str:
        return f"<{self.field} of {self.label}: {self.spelling}>"


class Search:
    """Looks for these people's values."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._tables: dict[int, dict[bytes, list[tuple[int, Needle]]]] = {
            length: defaultdict(list) for length in _PIECES
        }
        known: dict[bytes, Needle] = {}
        for canary in canaries:
            for field, spelling, content in _needles(canary):
                known.setdefault(content, Needle(canary.label, field, spelling, content))
        self.needles = list(known.values())
        for needle in self.needles:
            self._add(needle)

    def _add(self, needle: Needle) -> None:
        if len(needle.content) < SHORTEST:
            raise ValueError(f"{needle!r} is too short to be unmistakable")
        length = max(each for each in _PIECES if each + _STEP - 1 <= len(needle.content))
        for start in range(_STEP):
            piece = needle.content[start : start + length]
            self._tables[length][piece].append((start, needle))

    def found_in(self, hay: bytes) -> set[Needle]:
        """Return the needles that these bytes hold."""
        found: set[Needle] = set()
        for length, pieces in self._tables.items():
            for at in range(0, len(hay) - length + 1, _STEP):
                if (piece := hay[at : at + length]) in pieces:
                    for start, needle in pieces[piece]:
                        if at >= start and hay.startswith(needle.content, at - start):
                            found.add(needle)
        return found


def _needles(canary: Canary) -> Iterator[tuple[str, str, bytes]]:
    """Yield every (field, spelling, bytes) that must not be found anywhere."""
    for field, part, text in _parts(canary):
        for spelling, needle in written(text):
            yield field, f"{part}, {spelling}", needle
    for field, value in (
        ("name", canary.name.encode()),
        ("idCard", canary.id_card.encode()),
        ("idCard in lower case", canary.id_card.lower().encode()),
        ("bankcard", canary.bankcard.encode()),
        ("mobile", canary.mobile.encode()),
        ("portrait", canary.portrait),
    ):
        for spelling, needle in _digests(value):
            yield field, spelling, needle
    for start in _CUTS:
        piece = canary.portrait[start : start + _CUT]
        for spelling, needle in (("bytes", piece), *_encoded(piece)):
            yield "portrait", f"from byte {start}, {spelling}", needle


def _parts(canary: Canary) -> Iterator[tuple[str, str, str]]:
    """Yield as much of each value as no mask and no digit left out may show, as people write it.

    Whoever has the whole value has these parts of it as well.
    """
    name = canary.name
    yield "name", "without its first character", name[1:]
    yield "name", "with blanks", " ".join(name)
    yield "name", "with wide blanks", "\u3000".join(name)
    yield "idCard", "date of birth and serial", canary.id_card[6:17]
    yield "idCard", "region and date of birth", canary.id_card[:14]
    yield "bankcard", "without first and last four", canary.bankcard[4:-4]
    yield "mobile", "whole", canary.mobile
    for field, number, sizes in (
        ("idCard", canary.id_card[:17], (6, 8)),
        ("bankcard", canary.bankcard, (4, 4, 4, 4)),
        ("mobile", canary.mobile, (3, 4)),
    ):
        for separator in (" ", "-"):
            yield field, f"grouped by {separator!r}", grouped(number, separator, *sizes)
        yield field, "full width", full_width(number)


def written(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield a text's spellings: encodings, and what programs make of characters they escape."""
    yield "UTF-8", text.encode()
    yield "UTF-16 little-endian", text.encode("utf-16-le")
    yield "UTF-16 big-endian", text.encode("utf-16-be")
    if not text.isascii():
        yield "GB 18030", text.encode("gb18030")
    units = text.encode("utf-16-be").hex()
    codes = [units[at : at + 4] for at in range(0, len(units), 4)]
    points = [ord(each) for each in text]
    for suffix, case in (("", str.lower), (", upper case", str.upper)):
        yield f"JSON escapes{suffix}", "".join(f"\\u{case(code)}" for code in codes).encode()
        yield f"JSON in JSON{suffix}", "".join(f"\\\\u{case(code)}" for code in codes).encode()
        yield f"HTML hex{suffix}", "".join(f"&#x{case(f'{p:x}')};" for p in points).encode()
    yield "HTML decimal", "".join(f"&#{point};" for point in points).encode()
    if any(point > 0xFFFF for point in points):
        yield "Python escapes", text.encode("unicode-escape")
    yield from _encoded(text.encode())


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


def _digests(plain: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the digests without a key, which anybody can try out."""
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, plain).digest()
        yield f"{name}, raw", digest
        yield f"{name}, hex", digest.hex().encode()
        yield f"{name}, hex, upper case", digest.hex().upper().encode()
        yield f"{name}, base64", base64.b64encode(digest)[:-4]
