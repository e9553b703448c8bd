"""Canaries: invented people whose every value is unmistakable, the same at every run.

Each path of the proof has people of its own, so that a finding says by which path a value came.
Names are made of Han characters that no name, log or program has (extensions A and B of Unicode);
the county 9999 exists nowhere; cards and mobiles fit their own checks and belong to nobody.
"""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

from worker.core.checks import id_card_check_digit, passes_luhn

if TYPE_CHECKING:
    from collections.abc import Callable

# Extension A (three bytes in UTF-8), and extension B (four bytes, a surrogate pair in UTF-16). Not
# from its beginning: U+3531 in UTF-16 is what "51" is in ASCII.
_EXTENSION_A = 0x4000
_EXTENSION_B = 0x20100
# Five characters, so that four are left where a mask shows the first: enough to be no accident.
_NAME_LENGTH = 5
# Of no use to anybody's time-stamps, which begin with 17 to 19 in seconds since 1970.
_MOBILE_PREFIXES = ("131", "133", "136", "138", "152", "155")
_MAGIC = {"jpeg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG\r\n\x1a\n"}
# A little more than the checks ask for: sent many times, they cost the broker nothing.
_PORTRAIT_BYTES = 5_400


@dataclass(frozen=True)
class Canary:
    """One invented person. `label` names the path, and is itself no personal data."""

    label: str
    name: str = field(repr=False)
    id_card: str = field(repr=False)
    bankcard: str = field(repr=False)
    mobile: str = field(repr=False)
    portrait: bytes = field(repr=False)

    @cached_property
    def image(self) -> str:
        """The portrait in base64, as it is sent."""
        return base64.b64encode(self.portrait).decode()

    def user(self, check_type: int) -> dict[str, object]:
        """Return `personalUser` for a check type."""
        fields: dict[str, object] = {"name": self.name, "idCard": self.id_card}
        if check_type in (0, 1):
            fields["bankcard"] = self.bankcard
        if check_type in (0, 4):
            fields["mobile"] = self.mobile
        if check_type == 3:
            fields["imgBase64"] = self.image
        return fields

    def request(self, check_type: int = 2, **more: object) -> dict[str, object]:
        """Return a request about this person under the label as its id."""
        spec = {"checkType": check_type, "personalUser": self.user(check_type)}
        return {"requestId": self.label, "personalSpec": spec, **more}


class Aviary:
    """Makes canaries: each label once, no value twice."""

    def __init__(self, seed: int = 20261127) -> None:
        self._random = random.Random(seed)
        self._number = count()
        self.canaries: list[Canary] = []

    def hatch(self, label: str) -> Canary:
        """Return a new person."""
        number = next(self._number)
        kind = ("jpeg", "png")[number % 2]
        made = Canary(
            label,
            _name(number),
            self._until(self._id_card, lambda value: (value[-1] == "X") == (number % 3 == 0)),
            self._until(self._bankcard, passes_luhn),
            f"{_MOBILE_PREFIXES[number % 6]}{self._digits(8)}",
            _MAGIC[kind] + self._random.randbytes(_PORTRAIT_BYTES),
        )
        self.canaries.append(made)
        return made

    def _id_card(self) -> str:
        born = f"19{self._random.randint(1, 49):02}{self._random.randint(1, 12):02}"
        digits = f"119999{born}{self._random.randint(1, 28):02}{self._digits(3)}"
        return digits + id_card_check_digit(digits)

    def _bankcard(self) -> str:
        return f"623999{self._digits(13)}"

    def _digits(self, how_many: int) -> str:
        return "".join(self._random.choices("0123456789", k=how_many))

    @staticmethod
    def _until(make: Callable[[], str], fits: Callable[[str], bool]) -> str:
        while not fits(value := make()):
            pass
        return value


def _name(number: int) -> str:
    first = (_EXTENSION_B if number % 4 == 0 else _EXTENSION_A) + number * _NAME_LENGTH
    return "".join(chr(first + place) for place in range(_NAME_LENGTH))


def wrong_check_digit(id_card: str) -> str:
    """Return the number with a check digit that does not match."""
    return id_card[:-1] + ("7" if id_card[-1] != "7" else "8")


def full_width(number: str) -> str:
    """Return a number as a Chinese keyboard may write it."""
    return "".join(chr(ord(each) + 0xFEE0) for each in number)


def grouped(number: str, separator: str, *sizes: int) -> str:
    """Return a number in groups of these sizes, the last of what is left."""
    parts, rest = [], number
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    return separator.join([*parts, rest])
