"""The model of a request and its fields, and what a message can be read as.

What is wrong names the field, never the value: validation errors of pydantic carry the input unless
they are told not to, and field names come from outside as well.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.core.checks import CheckPolicy, FieldRefused, LuhnCheck, check_field, passes_luhn
from worker.core.claims import Envelope
from worker.core.outcome import BadMessage, ErrorKind, FieldProblem
from worker.core.request import CheckType, Person, PersonField, VerificationRequest, field_matrix

DEFAULT_SOURCE = "default"
REQUEST_ID_LIMIT = 128
CONTEXT_LIMIT = 2048
"""Bytes of the context as compact JSON."""

SOURCE = re.compile(r"[a-z0-9-]{1,64}")
_FIELD_NAME = re.compile(r"(?!.*[0-9]{6})[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# An escaped NUL in JSON; `\\\\u0000` is a backslash and five characters.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
# The last second of 9999 means never to some. Where the database's zone is Asia/Shanghai that is of
# the year 10000, and many drivers of those who read by SQL fail at it. Between these no zone does.
_EARLIEST, _LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class PersonalUserV1(_Strict):
    """The person, spelled as the provider spells it; which fields depends on the check type."""

    name: str | None = Field(None, description="Chinese name, 2 to 50 characters")
    idCard: str | None = Field(None, description="resident ID number, 18 characters")  # noqa: N815
    bankcard: str | None = Field(None, description="bank card number, 12 to 19 digits")
    mobile: str | None = Field(None, description="mainland mobile number")
    imgBase64: str | None = Field(  # noqa: N815
        None, description="JPEG or PNG in base64, 5 to 150 kB decoded"
    )


class PersonalSpecV1(_Strict):
    """What is verified."""

    checkType: int = Field(ge=0, le=4, description="0 to 4, as the provider's document has it")  # noqa: N815
    personalUser: PersonalUserV1  # noqa: N815


class RequestV1(_Strict):
    """A verification request; null is as good as absent, in every field."""

    requestId: str | None = Field(  # noqa: N815
        None,
        max_length=REQUEST_ID_LIMIT,
        description="idempotency key, printable characters in Unicode normal form C, no blank at "
        "its beginning or end; without it the AMQP message_id counts, by the same rules",
        json_schema_extra={"pattern": "^([^ ](.*[^ ])?)?$"},
    )
    personalSpec: PersonalSpecV1  # noqa: N815
    source: str | None = Field(
        None,
        pattern=f"^{SOURCE.pattern}$",
        description=f"the publishing system; without it `{DEFAULT_SOURCE}`",
    )
    expiresAt: str | None = Field(  # noqa: N815
        None, description="RFC 3339 time with a zone; past it no call is made"
    )
    context: dict[str, Any] | None = Field(
        None, description="echoed in the event, at most 2 KiB; put no personal data in it"
    )


# pydantic's words where they are unclear to somebody who publishes JSON.
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    # Only the source has one.
    "string_pattern_mismatch": "must have 1 to 64 of the letters a-z, digits and hyphens",
}

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Editors and .NET put it before UTF-8; a JSON parser may ignore it (RFC 8259, section 8.1)."""


def problems_of(error: ValidationError) -> Iterator[FieldProblem]:
    """Yield what is wrong with a message, by field; no value and no input is in it."""
    # Ten problems show what is wrong; a hostile message could name thousands of unknown fields.
    for detail in error.errors(include_url=False, include_context=False)[:10]:
        message = detail["msg"]
        words = message[0].lower() + message[1:].replace("Input ", "", 1)
        words = words.removeprefix("input ").replace("should", "must", 1)
        yield FieldProblem(
            ".".join(_field_name(part) for part in detail["loc"]) or "body",
            _WORDS.get(detail["type"])
            or ("is required" if detail["input"] is None and detail["loc"] else words),
        )


def _field_name(part: int | str) -> str:
    """Return a field's name as it may be shown: one that could hold a person's data is not."""
    return str(part) if _FIELD_NAME.fullmatch(str(part)) else "(unprintable name)"


def parse_time(text: str | None, problems: list[FieldProblem]) -> datetime | None:
    """Return an RFC 3339 time in UTC; what is none becomes a problem."""
    if text is None:
        return None
    try:
        if _RFC3339.fullmatch(text):
            moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
            return min(max(moment, _EARLIEST), _LATEST)
    except (ValueError, OverflowError):
        pass
    problems.append(
        FieldProblem("expiresAt", "must be an RFC 3339 time such as 2026-12-01T00:00:00Z")
    )
    return None


def dump_context(context: dict[str, Any] | None, problems: list[FieldProblem]) -> str | None:
    """Return a context as compact JSON; what cannot be echoed becomes a problem."""
    if context is None:
        return None
    try:
        text = orjson.dumps(context)
    except (orjson.JSONEncodeError, TypeError):
        problem = "holds a number or a nesting that is too large"
    else:
        if len(text) > CONTEXT_LIMIT:
            problem = f"must be at most {CONTEXT_LIMIT} bytes"
        elif orjson.loads(text) != context:
            # NaN and infinities: not JSON, yet parsers take them, and null would be echoed.
            problem = "holds a number that JSON does not have"
        elif _NUL.search(text):
            problem = "must not contain NUL characters"
        else:
            return text.decode()
    problems.append(FieldProblem("context", problem))
    return None


def read_person(
    spec: PersonalSpecV1, policy: CheckPolicy, today: date
) -> tuple[Mapping[PersonField, str], list[FieldProblem]]:
    """Return the fields that the check type needs, normalised, and every problem."""
    needed = field_matrix(policy.portrait_fields)[CheckType(spec.checkType)]
    fields: dict[PersonField, str] = {}
    problems = []
    for each in PersonField:
        text: str | None = getattr(spec.personalUser, each)
        if text is None:
            if each in needed:
                problems.append(_of_person(each, f"is required for checkType {spec.checkType}"))
        elif each in needed:
            try:
                fields[each] = check_field(each, text, policy, today)
            except FieldRefused as refusal:
                problems.append(_of_person(each, str(refusal)))
        else:
            problems.append(_of_person(each, f"must not be sent for checkType {spec.checkType}"))
    return fields, problems


def warnings_of(person: Person, policy: CheckPolicy) -> tuple[FieldProblem, ...]:
    """Return what is odd about a person and refuses nothing."""
    card = person.fields.get(PersonField.BANKCARD)
    if card is None or policy.luhn is not LuhnCheck.WARN or passes_luhn(card):
        return ()
    return (_of_person(PersonField.BANKCARD, "check digit does not match"),)


def _of_person(field: PersonField, problem: str) -> FieldProblem:
    return FieldProblem(f"personalSpec.personalUser.{field}", problem)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that passed every check; `warnings` are problems that do not refuse it."""

    request: VerificationRequest
    envelope: Envelope
    warnings: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A readable request that fails our checks: it gets a row and a `rejected` event."""

    request_id: str
    source: str
    check_type: int | None
    problems: tuple[FieldProblem, ...]
    envelope: Envelope
    body: bytes = field(repr=False)
    """What was read: the same text encrypted twice gives two messages and one request."""
    request: VerificationRequest | None = None
    """What it asks, where only its encryption or its id's spelling is wrong: it may be known."""
    before: VerificationRequest | None = None
    """What it asked, where workers with less strict checks have taken it before."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No request can be told from this message: dead letter, and an event where one can go."""

    reason: BadMessage | ErrorKind
    problem: FieldProblem
    envelope: Envelope
    body: bytes = field(repr=False)
    """What was to be read, opened if it could be."""
    source: str | None = None
    """Who sent it, where its JSON can say so; its answer goes there, if it has no `reply_to`."""


Reading = Accepted | Refused | Unreadable
