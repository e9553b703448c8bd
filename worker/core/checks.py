"""Checks before paying: each field of a person, normalised or refused.

A check takes the text as published and returns it as the provider is to get it, or raises
`FieldRefused` with the problem in words that never contain the value.
"""

import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from worker.core import spelling
from worker.core.request import PersonField, PortraitFields


class FieldRefused(Exception):
    """A field does not pass its check; the text says why, without the value."""


class IdCardCheck(StrEnum):
    """How much of an ID number is checked."""

    STRICT = "strict"
    FORMAT = "format"
    OFF = "off"


class NameCheck(StrEnum):
    """Which names pass: holders of a foreign permanent residence have Latin ones."""

    HAN = "han"
    LATIN = "latin"
    """Names in Latin letters as well as Chinese ones."""
    OFF = "off"


class LuhnCheck(StrEnum):
    """What a wrong Luhn digit of a bank card means: some issuers do not follow it."""

    OFF = "off"
    WARN = "warn"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """How strict the checks are; sizes are of the decoded image, in bytes."""

    id_card: IdCardCheck = IdCardCheck.STRICT
    luhn: LuhnCheck = LuhnCheck.WARN
    portrait_fields: PortraitFields = PortraitFields.ID_CARD
    portrait_min_bytes: int = 5_000
    portrait_max_bytes: int = 150_000
    name: NameCheck = NameCheck.HAN


# The first two digits of an ID number: the province, and residents of Hong Kong, Macao and
# Taiwan. There is no table of counties: real people's county codes come and go.
PROVINCES = frozenset(
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 "
    "61 62 63 64 65 71 81 82 83".split()
)
_RESIDENT_PERMITS = frozenset({"81", "82", "83"})
_ID_CARD = re.compile(r"[1-9][0-9]{16}[0-9X]")
_LOOSE_ID_CARD = re.compile(r"[0-9A-Z]{1,32}")
ID_NUMBER_IN_TEXT = "[1-9][0-9]{5}(?:19|20)[0-9]{9}[0-9Xx]"
"""What may be an ID number in a text, as a regular expression; its check digit says more."""
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS = "10X98765432"
_BANKCARD = re.compile(r"[0-9]{12,19}")
_MOBILE = re.compile(r"(?:\+86)?(?:0086|86)?(1[3-9][0-9]{9})")
# 1.10105E+17: what is left of a number once a spreadsheet has shown it.
_ROUNDED = re.compile(r"[0-9][.,][0-9]+E\+?[0-9]+")
# Han characters of every Unicode block that GB 18030 lists, and the dot of names from the west.
_NAME = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f·]+")
_LATIN_NAME = re.compile(f"[{spelling.LATIN_LETTERS}][{spelling.LATIN_LETTERS} .,'-]+")
_RADICAL = re.compile("[\u2e80-\u2fdf]")
_CONTROL = re.compile(f"[{spelling.CONTROLS}]")
_DATA_PREFIX = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_IMAGE_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def check_field(field: PersonField, text: str, policy: CheckPolicy, today: date) -> str:
    """Return the field normalised; raise `FieldRefused`. `today` is the date in Asia/Shanghai."""
    match field:
        case PersonField.NAME:
            return check_name(text, policy.name)
        case PersonField.ID_CARD:
            return check_id_card(text, policy.id_card, today)
        case PersonField.BANKCARD:
            return check_bankcard(text, policy.luhn)
        case PersonField.MOBILE:
            return check_mobile(text)
        case PersonField.PORTRAIT:
            return check_portrait(text, policy)


def check_name(text: str, how: NameCheck = NameCheck.HAN) -> str:
    """Return the name in one spelling: NFKC, nothing invisible, its dots U+00B7."""
    name = spelling.name(text)
    least = 1 if how is NameCheck.OFF else 2
    if not least <= len(name) <= 50:
        raise FieldRefused(f"must have {least} to 50 characters")
    if _NAME.fullmatch(chinese := spelling.chinese_name(name)):
        if not chinese.strip("·"):
            raise FieldRefused("must have a Chinese character")
        return chinese
    if _CONTROL.search(name):
        raise FieldRefused("contains an invisible character")
    latin = spelling.latin_name(name)
    if how is NameCheck.OFF or (how is NameCheck.LATIN and _LATIN_NAME.fullmatch(latin)):
        return latin
    raise FieldRefused(f"{_NAMES[how]}{_why_no_name(name)}")


_NAMES = {
    NameCheck.HAN: "must consist of Chinese characters and ·",
    NameCheck.LATIN: "must consist of Chinese characters and ·, or of Latin letters",
}


def _why_no_name(name: str) -> str:
    if _LATIN_NAME.fullmatch(spelling.latin_name(name)):
        return "; Latin names pass where the workers have NAME_CHECK=latin"
    if _RADICAL.search(name):
        return "; it contains a radical that only looks like a character"
    if _NAME.fullmatch(spelling.chinese_name("".join(name.split()))):
        return "; it contains a space"
    return ""


def check_id_card(text: str, how: IdCardCheck, today: date) -> str:
    """Return the ID number as 17 digits and a check digit, its X in upper case."""
    number = spelling.number(text)
    if how is IdCardCheck.OFF:
        if not _LOOSE_ID_CARD.fullmatch(number):
            raise FieldRefused("must have 1 to 32 letters and digits")
        return number
    if len(number) == 15 and number.isdecimal():
        raise FieldRefused("has 15 digits: numbers of the first generation are not accepted")
    if not _ID_CARD.fullmatch(number):
        raise _no_number(number, "must have 17 digits and a check digit")
    if how is IdCardCheck.STRICT:
        _check_id_card_meaning(number, today)
    return number


def _no_number(number: str, problem: str) -> FieldRefused:
    """Return a refusal that says what is odd about a number, where that can be told."""
    if _ROUNDED.fullmatch(number):
        problem += "; it is rounded, as spreadsheets show long numbers: format the column as text"
    elif _CONTROL.search(number):
        problem += "; it contains an invisible character"
    elif not number.isascii():
        problem += "; it contains a character that is no plain digit"
    return FieldRefused(problem)


def _check_id_card_meaning(number: str, today: date) -> None:
    if not passes_check_digit(number):
        raise FieldRefused("check digit does not match")
    # Since 2023-12 foreign permanent residents have numbers with a leading 9 before the province.
    if number[0] == "9":
        if number[1:3] not in PROVINCES:
            raise FieldRefused("holds no known province after the 9")
    elif number[:2] not in PROVINCES:
        raise FieldRefused("begins with no known province")
    elif number[:2] in _RESIDENT_PERMITS and number[2:6] != "0000":
        raise FieldRefused("begins with no known region")
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        raise FieldRefused("holds no real date of birth") from None
    if not date(1900, 1, 1) <= born <= today:
        raise FieldRefused("holds a date of birth that cannot be")


def id_card_check_digit(number: str) -> str:
    """Return the MOD 11-2 check digit (GB 11643) of an ID number's first 17 digits."""
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return _CHECK_DIGITS[total % 11]


def passes_check_digit(number: str) -> bool:
    """Return whether an ID number's last character is the check digit of the 17 before it."""
    return id_card_check_digit(number) == number[-1].upper()


def check_bankcard(text: str, luhn: LuhnCheck) -> str:
    """Return the card number as digits alone."""
    number = spelling.number(text)
    if not _BANKCARD.fullmatch(number):
        raise _no_number(number, "must have 12 to 19 digits")
    if luhn is LuhnCheck.REJECT and not passes_luhn(number):
        raise FieldRefused("check digit does not match")
    return number


def passes_luhn(number: str) -> bool:
    """Return whether a card number's last digit fits (ISO/IEC 7812)."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number)))
    return sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10 == 0


def check_mobile(text: str) -> str:
    """Return the mainland mobile number as 11 digits."""
    number = spelling.number(text)
    if (found := _MOBILE.fullmatch(number)) is None:
        raise _no_number(number, "must be a mainland mobile number of 11 digits")
    return found[1]


def check_portrait(text: str, policy: CheckPolicy) -> str:
    """Return the image as plain base64; it must be a JPEG or PNG of an accepted size."""
    prefix = _DATA_PREFIX.match(text)
    encoded = text[prefix.end() :] if prefix else text
    # Four characters carry three bytes: refuse the oversized before decoding it.
    longest = policy.portrait_max_bytes * 4 // 3 + 4
    image = _decoded(encoded) if len(encoded) <= longest else None
    if image is None:
        encoded = _plain_base64(encoded)
        if len(encoded) > longest:
            raise FieldRefused(f"must be an image of at most {policy.portrait_max_bytes} bytes")
        image = _decoded(encoded)
    if image is None:
        raise FieldRefused("must be base64")
    if not policy.portrait_min_bytes <= len(image) <= policy.portrait_max_bytes:
        sizes = f"{policy.portrait_min_bytes} to {policy.portrait_max_bytes}"
        raise FieldRefused(f"must be an image of {sizes} bytes")
    if not image.startswith(_IMAGE_MAGIC):
        raise FieldRefused("must be a JPEG or PNG image")
    return encoded


def _decoded(encoded: str) -> bytes | None:
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        return None


def _plain_base64(text: str) -> str:
    """Return base64 in its standard alphabet, padded, without line ends and other blanks."""
    packed = "".join(text.split()).translate(spelling.STANDARD_BASE64).rstrip("=")
    return packed + "=" * (-len(packed) % 4)
