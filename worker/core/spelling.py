"""One spelling for the same data, whatever keyboard, spreadsheet or program wrote it.

Pure. Rows are found by digests of these spellings: what was accepted before a folding was added
must read the same after it.
"""

import re
import unicodedata

LATIN_LETTERS = "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ"
CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Two classes of characters, as a regular expression has them between brackets."""

STANDARD_BASE64 = str.maketrans("-_", "+/")
"""From the alphabet of URLs."""

# No name or number has so many characters. Longer texts stay as they are, to be refused: NFKC makes
# eighteen characters of some, and a message has a million.
_LONGEST = 256

# What stands between the digits of a number as people write it.
_ASCII_SEPARATORS = dict.fromkeys(map(ord, " \t\n\r\v\f\x1c\x1d\x1e\x1f-"))

# Format characters, variation selectors and blank letters: nobody sees them. Copied from chats,
# PDFs and address books they stand before, after and between digits and characters.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
# Hyphens and dashes, the minus sign, and what Chinese and Japanese keyboards give for them.
_DASHES = "\u2010-\u2015\u2043\u2212\u301c\u30fc\ufe58\ufe63\uff0d"
BETWEEN = rf"[\s\-{_DASHES}{_INVISIBLE}]"
"""What people put between the digits of a number, as a regular expression."""
_BETWEEN = re.compile(BETWEEN)
_HIDDEN = re.compile(f"[{_INVISIBLE}]")

# Letters and signs that look like the check digit X of an ID number.
_LOOKS_LIKE_X = str.maketrans("ХхΧχ×", "XXXXX")

# Dots that stand for the one of Chinese names from other languages, U+00B7.
OTHER_DOTS = "•・‧.∙⋅⸱"
_NAME_DOTS = dict.fromkeys(map(ord, OTHER_DOTS), "·")
_LATIN_SIGNS = str.maketrans("’‘ʼ‐‑–", "'''---")


def number(text: str) -> str:
    """Return a number as digits and upper-case letters; what is no number is none afterwards."""
    if text.isascii():
        return text.translate(_ASCII_SEPARATORS).upper()
    text = text.strip()
    return compact(text) if len(text) <= _LONGEST else text


def compact(text: str) -> str:
    """Return a text of any length with all that stands between digits taken out."""
    if text.isascii():
        return text.translate(_ASCII_SEPARATORS).upper()
    folded = _BETWEEN.sub("", unicodedata.normalize("NFKC", text))
    return folded.translate(_LOOKS_LIKE_X).upper()


def name(text: str) -> str:
    """Return a name without what is invisible, compatibility forms as the characters they are."""
    text = text.strip()
    if len(text) > _LONGEST:
        return text
    return unicodedata.normalize("NFKC", _HIDDEN.sub("", text)).strip()


def chinese_name(name: str) -> str:
    """Return a folded name with its dots as U+00B7."""
    return name.translate(_NAME_DOTS)


def latin_name(name: str) -> str:
    """Return a folded name with plain apostrophes and hyphens, and single spaces."""
    return " ".join(name.translate(_LATIN_SIGNS).split())
