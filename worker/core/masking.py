"""What may be shown of a person: masks for rows and logs, and a scrubber for foreign texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.core.encodings import decoded, without_codes
from worker.core.request import Person, PersonField

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Masked:
    """A person as rows show it: `张*`, `1****************X`, the card's last four digits."""

    name: str | None = None
    id_card: str | None = None
    bankcard: str | None = None
    mobile: str | None = None
    portrait: str | None = None


NOBODY = Masked()


def mask_name(name: str) -> str:
    """Keep the first character."""
    return name[0] + "*" * (len(name) - 1)


def mask_id_card(number: str) -> str:
    """Keep the first and the last character."""
    return (
        number[0] + "*" * (len(number) - 2) + number[-1] if len(number) > 2 else "*" * len(number)
    )


def mask_bankcard(number: str) -> str:
    """Keep the last four digits."""
    return "*" * (len(number) - 4) + number[-4:]


def mask_mobile(number: str) -> str:
    """Keep the first three and the last four digits."""
    return number[:3] + "****" + number[-4:]


def mask_portrait(encoded: str) -> str:
    """Say the image's size and nothing else."""
    return f"<image {len(encoded) * 3 // 4 // 1000} kB>"


_MASKS: dict[PersonField, Callable[[str], str]] = {
    PersonField.NAME: mask_name,
    PersonField.ID_CARD: mask_id_card,
    PersonField.BANKCARD: mask_bankcard,
    PersonField.MOBILE: mask_mobile,
    PersonField.PORTRAIT: mask_portrait,
}


def mask(person: Person) -> Masked:
    """Return what a row may show of a person."""
    shown = {field: _MASKS[field](text) for field, text in person.fields.items()}
    return Masked(
        shown.get(PersonField.NAME),
        shown.get(PersonField.ID_CARD),
        shown.get(PersonField.BANKCARD),
        shown.get(PersonField.MOBILE),
        shown.get(PersonField.PORTRAIT),
    )


# A run of digits as long as a mobile number or longer, with what people put between the digits,
# can be a person's number; order numbers go with them, the provider's requestId stays.
_LONG_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){10,}[Xx]?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# A cell that a person reads; JD's own answers stay below 200 characters.
TEXT_LIMIT = 500


def scrub(text: str, person: Person | None, limit: int = TEXT_LIMIT) -> str:
    """Return a foreign text without a person's data, control characters or excess length.

    The person's own values are replaced by their masks, however they are spelt (`disguises`);
    then every number as long as a mobile number is, whoever it belongs to. At most `limit`
    characters.
    """
    text = _CONTROL.sub(" ", decoded(text))
    for field, value in () if person is None else person.fields.items():
        if field is PersonField.PORTRAIT:
            # An echoed image is cut off somewhere: its beginning tells it.
            if value[:64] in text:
                return "<image>"[:limit]
            continue
        for spelling in _spellings(field, value):
            if spelling in text:
                text = text.replace(spelling, _MASKS[field](value))
    text = _LONG_NUMBER.sub("***", text)
    return (text if person is None else without_codes(text, person))[:limit]


def _spellings(field: PersonField, value: str) -> tuple[str, ...]:
    """Return how a value may stand in a text; the whole name comes before the given name."""
    if field is not PersonField.NAME:
        return (value, value.lower())
    spaced = (value, " ".join(value), "\u3000".join(value))
    # One character is an ordinary word.
    return (*spaced, value[1:]) if len(value) > 2 else spaced
