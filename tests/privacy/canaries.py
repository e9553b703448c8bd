"""Canaries: invented people whose every value is unmistakable, the same at every run.

Each scenario of the proof has people of its own, so that a finding says by which way a value came.
Names are made of Han characters that no name, log or program has (extensions A and B of Unicode);
the county 9999 exists nowhere; cards and mobiles fit their own checks and belong to nobody.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

from tests.fakes.messages import FIELDS_OF_TYPE
from worker.core.checks import id_card_check_digit, passes_luhn

# Extension A (three bytes in UTF-8), and extension B (four bytes, a surrogate pair in UTF-16). Not
# from its beginning: U+3531 in UTF-16 is what "51" is in ASCII.
_EXTENSION_A, _EXTENSION_B = 0x4000, 0x20100
# Five characters, so that four are left where a mask shows the first: enough to be no accident.
_NAME_LENGTH = 5
# No beginnings of time-stamps, which are 17 to 19 in seconds since 1970.
_MOBILE_PREFIXES = ("131", "133", "136", "138", "152", "155")
_MAGIC = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n")
# A little more than the checks ask for: sent many times, they cost the broker nothing.
_PORTRAIT_BYTES = 5_400


@dataclass(frozen=True)
class Canary:
    """One invented person. `label` names the scenario, and is itself no personal data."""

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
        numbers = {"idCard": self.id_card, "bankcard": self.bankcard, "mobile": self.mobile}
        values = {"name": self.name, **numbers, "imgBase64": self.image}
        return {field: values[field] for field in FIELDS_OF_TYPE[check_type]}

    def request(self, check_type: int = 2, **more: object) -> dict[str, object]:
        """Return a request about this person under the label as its id."""
        spec = {"checkType": check_type, "personalUser": self.user(check_type)}
        return {"requestId": self.label, "personalSpec": spec, **more}


class People:
    """Invents people: each label once, no value twice."""

    def __init__(self) -> None:
        self.all: list[Canary] = []
        self._lock = Lock()

    def invent(self, label: str) -> Canary:
        """Return a new person; any thread may ask."""
        with self._lock:
            self.all.append(_person(label, len(self.all)))
            return self.all[-1]

    def invent_many(self, label: str, how_many: int) -> list[Canary]:
        """Return new people, numbered from 0."""
        return [self.invent(f"{label}-{number}") for number in range(how_many)]


def _person(label: str, number: int) -> Canary:
    dice = random.Random(label)
    first = (_EXTENSION_A if number % 4 else _EXTENSION_B) + number * _NAME_LENGTH

    def digits(how_many: int) -> str:
        return "".join(dice.choices("0123456789", k=how_many))

    def id_card() -> str:
        born = f"19{dice.randint(1, 49):02}{dice.randint(1, 12):02}{dice.randint(1, 28):02}"
        number = f"119999{born}{digits(3)}"
        return number + id_card_check_digit(number)

    return Canary(
        label,
        "".join(map(chr, range(first, first + _NAME_LENGTH))),
        _until(id_card, lambda value: (value[-1] == "X") == (number % 3 == 0)),
        _until(lambda: f"623999{digits(13)}", passes_luhn),
        _MOBILE_PREFIXES[number % 6] + digits(8),
        _MAGIC[number % 2] + dice.randbytes(_PORTRAIT_BYTES),
    )


def _until(make: Callable[[], str], fits: Callable[[str], bool]) -> str:
    while not fits(value := make()):
        pass
    return value


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
