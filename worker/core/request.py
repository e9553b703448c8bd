"""What is asked: one person, one check type, one request id."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum


class CheckType(IntEnum):
    """How a person is verified, numbered as the provider's document numbers it."""

    BANK_CARD_FOUR_FACTOR = 0
    BANK_CARD_THREE_FACTOR = 1
    ID_CARD_TWO_FACTOR = 2
    PORTRAIT_THREE_FACTOR = 3
    MOBILE_THREE_FACTOR = 4


class PersonField(StrEnum):
    """A field of `personalUser`, spelled as the provider spells it."""

    NAME = "name"
    ID_CARD = "idCard"
    BANKCARD = "bankcard"
    MOBILE = "mobile"
    PORTRAIT = "imgBase64"


class PortraitFields(StrEnum):
    """Which number goes with a portrait: JD's document and its SDK disagree."""

    ID_CARD = "id_card"
    BANK_CARD = "bank_card"


class Lane(StrEnum):
    """Which of the two requests queues a message came by."""

    LIVE = "live"
    """Somebody waits for the answer."""
    BULK = "bulk"
    """It can wait: whatever is scarce goes to live first."""


class Mode(StrEnum):
    """Whether answers come from the provider itself or from a sandbox; stamped on every row."""

    LIVE = "live"
    SANDBOX = "sandbox"


_PERSON = (PersonField.NAME, PersonField.ID_CARD)

FIELDS_BY_TYPE: Mapping[CheckType, tuple[PersonField, ...]] = {
    CheckType.BANK_CARD_FOUR_FACTOR: (*_PERSON, PersonField.BANKCARD, PersonField.MOBILE),
    CheckType.BANK_CARD_THREE_FACTOR: (*_PERSON, PersonField.BANKCARD),
    CheckType.ID_CARD_TWO_FACTOR: _PERSON,
    CheckType.PORTRAIT_THREE_FACTOR: (*_PERSON, PersonField.PORTRAIT),
    CheckType.MOBILE_THREE_FACTOR: (*_PERSON, PersonField.MOBILE),
}


def field_matrix(portrait: PortraitFields) -> Mapping[CheckType, tuple[PersonField, ...]]:
    """Return the fields that each check type needs; exactly these are sent, no other one."""
    if portrait is PortraitFields.ID_CARD:
        return FIELDS_BY_TYPE
    with_bank_card = (PersonField.NAME, PersonField.BANKCARD, PersonField.PORTRAIT)
    return {**FIELDS_BY_TYPE, CheckType.PORTRAIT_THREE_FACTOR: with_bank_card}


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """The normalised fields of one person, exactly those that the check type needs.

    It has no `repr`: personal data must not reach a log by way of a format string.
    """

    fields: Mapping[PersonField, str]

    @property
    def id_card(self) -> str | None:
        """The 18 characters of the ID number, X in upper case."""
        return self.fields.get(PersonField.ID_CARD)

    def __repr__(self) -> str:
        return f"<Person with {len(self.fields)} fields>"


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """One request that passed every check of ours."""

    request_id: str
    check_type: CheckType
    person: Person
    source: str
    expires_at: datetime | None
    context: str | None
    """The publisher's own object as compact JSON, echoed in the event."""
