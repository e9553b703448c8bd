"""A request as published: bytes and properties become a request, a refusal, or nothing usable.

Every refusal names the field and the problem, never the value: validation errors of pydantic
carry the input unless they are told not to, and field names come from outside as well.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.encryption import Undecryptable, is_encrypted, opened
from worker.contract.envelope import check_envelope, may_be_id_number, of_nobody
from worker.core.checks import CheckPolicy, FieldRefused, LuhnCheck, check_field, passes_luhn
from worker.core.outcome import FieldProblem
from worker.core.request import CheckType, Person, PersonField, VerificationRequest, field_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from worker.contract.encryption import MessageKeys
    from worker.core.claims import Envelope
    from worker.core.delivery import Delivery

DEFAULT_SOURCE = "default"
REQUEST_ID_LIMIT = 128
CONTEXT_LIMIT = 2048
"""Bytes of the context as compact JSON."""

_SOURCE = re.compile(r"[a-z0-9-]{1,64}")
_FIELD_NAME = re.compile(r"(?!.*[0-9]{6})[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# An escaped NUL in JSON; `\\\\u0000` is a backslash and five characters.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SEPARATORS = re.compile(r"[\s-]|^\+86|^0086")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class PersonalUserV1(BaseModel):
    """The person, spelled as the provider spells it; which fields depends on the check type."""

    model_config = _STRICT

    name: str = Field("", description="Chinese name, 2 to 50 characters")
    idCard: str = Field("", description="resident ID number, 18 characters")  # noqa: N815
    bankcard: str = Field("", description="bank card number, 12 to 19 digits")
    mobile: str = Field("", description="mainland mobile number")
    imgBase64: str = Field("", description="JPEG or PNG in base64, 5 to 150 kB decoded")  # noqa: N815


class PersonalSpecV1(BaseModel):
    """What is verified."""

    model_config = _STRICT

    checkType: int = Field(ge=0, le=4, description="0 to 4, as the provider's document has it")  # noqa: N815
    personalUser: PersonalUserV1  # noqa: N815


class RequestV1(BaseModel):
    """A verification request."""

    model_config = _STRICT

    requestId: str = Field(  # noqa: N815
        "",
        max_length=REQUEST_ID_LIMIT,
        description="idempotency key, printable characters; without it the AMQP message_id counts",
    )
    personalSpec: PersonalSpecV1  # noqa: N815
    source: str = Field(
        DEFAULT_SOURCE, pattern=f"^{_SOURCE.pattern}$", description="the publishing system"
    )
    expiresAt: str | None = Field(  # noqa: N815
        None, description="RFC 3339 time with a zone; past it no call is made"
    )
    context: dict[str, Any] | None = Field(
        None, description="echoed in the event, at most 2 KiB; put no personal data in it"
    )


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
    """What it asks, where nothing is wrong but that it is not encrypted: its id may be known."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No request can be told from this message: dead letter, and an event where one can go."""

    reason: str
    """A code from a closed list."""
    problem: FieldProblem
    envelope: Envelope
    body: bytes = field(repr=False)
    """What was to be read, opened if it could be."""


Reading = Accepted | Refused | Unreadable


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Reads deliveries under one policy; safe for any thread.

    `keys` open encrypted messages; where they are `required` a raw one is refused.
    """

    policy: CheckPolicy
    max_bytes: int
    keys: MessageKeys | None = None
    required: bool = False

    def read(self, delivery: Delivery, today: date) -> Reading:
        """Return what a delivery says; never raises, whatever the bytes are.

        `today` is the date in Asia/Shanghai, for dates of birth.
        """
        envelope, problems = check_envelope(delivery)
        if len(delivery.body) > self.max_bytes:
            limit = f"is larger than {self.max_bytes} bytes"
            return _unreadable("too_large", limit, envelope, delivery)
        if not is_encrypted(delivery.body):
            reading = self._read(delivery, envelope, problems, today)
            return _refuse_raw(reading, delivery.body) if self.required else reading
        try:
            delivery = replace(delivery, body=opened(delivery.body, self.keys))
        except Undecryptable as error:
            return _unreadable("undecryptable", error.problem, envelope, delivery)
        return self._read(delivery, envelope, problems, today)

    def _read(
        self, delivery: Delivery, envelope: Envelope, problems: list[FieldProblem], today: date
    ) -> Reading:
        """Read what is JSON, or ought to be; `problems` are those of the properties."""
        try:
            parsed = RequestV1.model_validate_json(delivery.body)
        except ValidationError as error:
            return self._refuse(delivery, error, envelope, problems)
        fields, found = self._person(parsed.personalSpec, today)
        problems += found
        expires_at = _parse_time(parsed.expiresAt, problems)
        context = _dump_context(parsed.context, problems)
        numbers = _numbers(parsed.personalSpec.personalUser.model_dump(), fields)
        source, envelope = _without_leaks(parsed.source, envelope, numbers, problems)
        request_id = parsed.requestId or delivery.message_id or ""
        if problem := _request_id_problem(request_id, numbers):
            return _unreadable("no_usable_id", problem, envelope, delivery, "requestId")
        if context is not None and _holds(context, numbers):
            problems.append(FieldProblem("context", _LEAK))
        check_type = CheckType(parsed.personalSpec.checkType)
        if problems:
            refusals = tuple(problems)
            return Refused(request_id, source, check_type, refusals, envelope, delivery.body)
        person = Person(fields)
        request = VerificationRequest(request_id, check_type, person, source, expires_at, context)
        return Accepted(request, envelope, self._warnings(person))

    def keep(self, body: bytes) -> bytes:
        """Return a body as it may lie about: a raw one sealed where messages must be encrypted.

        Sealing makes it a third longer, and a broker refuses what is too long, for ever: of one
        that would pass the limit the beginning is kept. Raw, it would never be worked on anyway.
        """
        if self.keys is None or not self.required or is_encrypted(body):
            return body
        return self.keys.seal(body[: max(0, self.max_bytes - _SEAL) * 3 // 4])

    def _person(
        self, spec: PersonalSpecV1, today: date
    ) -> tuple[Mapping[PersonField, str], list[FieldProblem]]:
        """Return the fields that the check type needs, normalised, and what is wrong with any."""
        needed = field_matrix(self.policy.portrait_fields)[CheckType(spec.checkType)]
        sent = spec.personalUser.model_fields_set
        fields: dict[PersonField, str] = {}
        problems = []
        for each in PersonField:
            path = f"personalSpec.personalUser.{each}"
            if each in needed and each not in sent:
                problems.append(FieldProblem(path, f"is required for checkType {spec.checkType}"))
            elif each in needed:
                try:
                    text = getattr(spec.personalUser, each)
                    fields[each] = check_field(each, text, self.policy, today)
                except FieldRefused as refusal:
                    problems.append(FieldProblem(path, str(refusal)))
            elif each in sent:
                problem = f"must not be sent for checkType {spec.checkType}"
                problems.append(FieldProblem(path, problem))
        return fields, problems

    def _warnings(self, person: Person) -> tuple[FieldProblem, ...]:
        card = person.fields.get(PersonField.BANKCARD)
        if card is None or self.policy.luhn is not LuhnCheck.WARN or passes_luhn(card):
            return ()
        path = f"personalSpec.personalUser.{PersonField.BANKCARD}"
        return (FieldProblem(path, "check digit does not match"),)

    def _refuse(
        self,
        delivery: Delivery,
        error: ValidationError,
        envelope: Envelope,
        problems: list[FieldProblem],
    ) -> Refused | Unreadable:
        """Tell a readable request with wrong fields from a message that is no request at all."""
        try:
            tree = orjson.loads(delivery.body)
        except orjson.JSONDecodeError:
            return _unreadable("not_json", "is not JSON in UTF-8", envelope, delivery)
        if not isinstance(tree, dict):
            return _unreadable("not_an_object", "must be a JSON object", envelope, delivery)
        numbers = _numbers(_child(_child(tree, "personalSpec"), "personalUser"))
        source = tree.get("source", DEFAULT_SOURCE)
        if not isinstance(source, str) or not _SOURCE.fullmatch(source):
            source = DEFAULT_SOURCE
        problems += problems_of(error)
        source, envelope = _without_leaks(source, envelope, numbers, problems)
        request_id: Any = tree.get("requestId") or delivery.message_id
        if problem := _request_id_problem(request_id, numbers):
            return _unreadable("no_usable_id", problem, envelope, delivery, "requestId")
        if not any(map(may_be_id_number, numbers)):
            # Whose number stands in the wrong place cannot be told: nobody's may.
            if may_be_id_number(request_id):
                return _unreadable("no_usable_id", _LEAK, envelope, delivery, "requestId")
            envelope = of_nobody(envelope)
            source = DEFAULT_SOURCE if may_be_id_number(source) else source
        refusals = tuple(problems)
        return Refused(request_id, source, _check_type(tree), refusals, envelope, delivery.body)


_LEAK = "must not contain the person's data"
_RAW = "must be encrypted, as a compact JWE to a key of the workers"

# Bytes of a sealed body beside its content: header, encrypted key and tag of an RSA key of 4,096
# bits have 850.
_SEAL = 1_024


def _refuse_raw(reading: Reading, body: bytes) -> Reading:
    """Refuse what can be read and should have been encrypted."""
    problem = FieldProblem("body", _RAW)
    match reading:
        case Accepted(request, envelope):
            about = (request.request_id, request.source, request.check_type)
            return Refused(*about, (problem,), envelope, body, request)
        case Refused(problems=problems):
            return replace(reading, problems=(problem, *problems))
        case Unreadable():
            return reading


def _unreadable(
    reason: str, problem: str, envelope: Envelope, delivery: Delivery, path: str = "body"
) -> Unreadable:
    return Unreadable(reason, FieldProblem(path, problem), of_nobody(envelope), delivery.body)


def _request_id_problem(value: object, numbers: list[str]) -> str | None:
    """Return what is wrong with an id; an id without a problem is a `str`."""
    if value is None or value == "":
        return "is required, here or as the AMQP message_id"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > REQUEST_ID_LIMIT or not value.isprintable():
        return f"must have 1 to {REQUEST_ID_LIMIT} printable characters"
    return _LEAK if _holds(value, numbers) else None


def _child(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def _check_type(tree: Mapping[str, Any]) -> int | None:
    value = _child(tree, "personalSpec").get("checkType")
    return value if type(value) is int and 0 <= value <= 4 else None


def _numbers(*users: Mapping[Any, object]) -> list[str]:
    """Return a person's numbers, as sent and as normalised, to look for where none may stand.

    A name may be an ordinary word and an image is never repeated; texts below six characters
    are no number of a person.
    """
    texts = [
        str(value).upper()
        for user in users
        for field, value in user.items()
        if field not in (PersonField.NAME, PersonField.PORTRAIT) and isinstance(value, str | int)
    ]
    compact = [_SEPARATORS.sub("", text) for text in texts]
    return [text for text in {*texts, *compact} if len(text) >= 6]


def _holds(text: str, numbers: list[str]) -> bool:
    """Return whether a text has one of the numbers in it: in groups and in wide digits, too."""
    folded = unicodedata.normalize("NFKC", text).upper()
    compact = _SEPARATORS.sub("", folded)
    return any(number in folded or number in compact for number in numbers)


def _without_leaks(
    source: str, envelope: Envelope, numbers: list[str], problems: list[FieldProblem]
) -> tuple[str, Envelope]:
    """Return the source and envelope without what repeats a person's number."""
    if _holds(source, numbers):
        problems.append(FieldProblem("source", _LEAK))
        source = DEFAULT_SOURCE
    if envelope.reply_to is not None and _holds(envelope.reply_to, numbers):
        problems.append(FieldProblem("properties.reply_to", _LEAK))
        envelope = replace(envelope, reply_to=None)
    if envelope.correlation_id is not None and _holds(envelope.correlation_id, numbers):
        problems.append(FieldProblem("properties.correlation_id", _LEAK))
        envelope = replace(envelope, correlation_id=None)
    return source, envelope


def _parse_time(text: str | None, problems: list[FieldProblem]) -> datetime | None:
    if text is None:
        return None
    try:
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    problems.append(
        FieldProblem("expiresAt", "must be an RFC 3339 time such as 2026-12-01T00:00:00Z")
    )
    return None


def _dump_context(context: dict[str, Any] | None, problems: list[FieldProblem]) -> str | None:
    if context is None:
        return None
    try:
        text = orjson.dumps(context)
    except (orjson.JSONEncodeError, TypeError):
        problems.append(FieldProblem("context", "holds a number or a nesting that is too large"))
        return None
    if len(text) > CONTEXT_LIMIT:
        problems.append(FieldProblem("context", f"must be at most {CONTEXT_LIMIT} bytes"))
        return None
    if orjson.loads(text) != context:
        # NaN and infinities: not JSON, yet parsers take them, and null would be echoed.
        problems.append(FieldProblem("context", "holds a number that JSON does not have"))
        return None
    if _NUL.search(text):
        problems.append(FieldProblem("context", "must not contain NUL characters"))
        return None
    return text.decode()


# pydantic's words where they are unclear to somebody who publishes JSON.
_WORDS = {"missing": "is required", "extra_forbidden": "is not a known field"}


def problems_of(error: ValidationError) -> Iterator[FieldProblem]:
    """Yield what is wrong with a message, by field; no value and no input is in it."""
    # Ten problems show what is wrong; a hostile message could name thousands of unknown fields.
    for detail in error.errors(include_url=False, include_input=False, include_context=False)[:10]:
        message = detail["msg"]
        words = message[0].lower() + message[1:].replace("Input ", "", 1)
        yield FieldProblem(
            ".".join(_field_name(part) for part in detail["loc"]) or "body",
            _WORDS.get(detail["type"], words.removeprefix("input ").replace("should", "must", 1)),
        )


def _field_name(part: int | str) -> str:
    """Return a field's name as it may be shown: one that could hold a person's data is not."""
    return str(part) if _FIELD_NAME.fullmatch(str(part)) else "(unprintable name)"
