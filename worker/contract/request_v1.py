"""A message as published becomes a request, a refusal by field, or nothing usable."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeGuard

import orjson
from pydantic import ValidationError

from worker.contract import leaks
from worker.contract.encryption import Undecryptable, is_encrypted, opened
from worker.contract.envelope import check_envelope
from worker.contract.packing import NotUnpacked, unknown_encoding, unpacked
from worker.contract.request_model import (
    DEFAULT_SOURCE,
    REQUEST_ID_LIMIT,
    SOURCE,
    RequestV1,
    dump_context,
    parse_time,
    problems_of,
)
from worker.core.checks import CheckPolicy, FieldRefused, LuhnCheck, check_field, passes_luhn
from worker.core.outcome import FieldProblem
from worker.core.request import CheckType, Person, PersonField, VerificationRequest, field_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from worker.contract.encryption import MessageKeys
    from worker.contract.request_model import PersonalSpecV1
    from worker.core.claims import Envelope
    from worker.core.delivery import Delivery


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
        try:
            delivery = unpacked(delivery, self.max_bytes)
        except NotUnpacked as error:
            return _unreadable(error.reason, error.problem, envelope, delivery)
        reading = self._read_plain(delivery, envelope, problems, today)
        # An encoding that is not known here is no reason to refuse what can be read all the same.
        if delivery.content_encoding is None or not _is_no_json(reading):
            return reading
        problem = FieldProblem("properties.content_encoding", unknown_encoding(delivery))
        return replace(reading, problem=problem)

    def _read_plain(
        self, delivery: Delivery, envelope: Envelope, problems: list[FieldProblem], today: date
    ) -> Reading:
        """Read what is JSON, or JSON in a JWE."""
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
        expires_at = parse_time(parsed.expiresAt, problems)
        context = dump_context(parsed.context, problems)
        numbers = leaks.numbers_of(parsed.personalSpec.personalUser.model_dump(), fields)
        source, envelope = leaks.without_leaks(parsed.source, envelope, numbers, problems)
        request_id = parsed.requestId or delivery.message_id or ""
        if problem := _request_id_problem(request_id, numbers):
            return _unreadable("no_usable_id", problem, envelope, delivery, "requestId")
        if context is not None and leaks.holds(context, numbers):
            problems.append(FieldProblem("context", leaks.LEAK))
        about = (request_id, source, CheckType(parsed.personalSpec.checkType))
        spelling = _request_id_spelling(request_id)
        if problems:
            return Refused(*about, (*problems, *spelling), envelope, delivery.body)
        person = Person(fields)
        request = VerificationRequest(request_id, about[2], person, source, expires_at, context)
        if spelling:
            return Refused(*about, spelling, envelope, delivery.body, request)
        return Accepted(request, envelope, self._warnings(person))

    def keep(self, delivery: Delivery) -> Delivery:
        """Return it as it may lie about: a raw body sealed where messages must be encrypted.

        Sealing makes it a third longer, and a broker refuses what is too long, for ever: of one
        that would pass the limit the beginning is kept. Raw, it would never be worked on anyway.
        """
        if self.keys is None or not self.required:
            return delivery
        try:
            plain = unpacked(delivery, self.max_bytes)
        except NotUnpacked:
            plain = delivery
        if is_encrypted(plain.body):
            return delivery
        sealed = self.keys.seal(plain.body[: max(0, self.max_bytes - _SEAL) * 3 // 4])
        return replace(plain, body=sealed, content_encoding=None)

    def _person(
        self, spec: PersonalSpecV1, today: date
    ) -> tuple[Mapping[PersonField, str], list[FieldProblem]]:
        """Return the fields that the check type needs, normalised, and what is wrong with any."""
        needed = field_matrix(self.policy.portrait_fields)[CheckType(spec.checkType)]
        sent = spec.personalUser.model_fields_set
        fields: dict[PersonField, str] = {}
        problems = []
        for each in PersonField:
            if each in needed and each not in sent:
                problems.append(_of_person(each, f"is required for checkType {spec.checkType}"))
            elif each in needed:
                try:
                    text = getattr(spec.personalUser, each)
                    fields[each] = check_field(each, text, self.policy, today)
                except FieldRefused as refusal:
                    problems.append(_of_person(each, str(refusal)))
            elif each in sent:
                words = f"must not be sent for checkType {spec.checkType}"
                problems.append(_of_person(each, words))
        return fields, problems

    def _warnings(self, person: Person) -> tuple[FieldProblem, ...]:
        card = person.fields.get(PersonField.BANKCARD)
        if card is None or self.policy.luhn is not LuhnCheck.WARN or passes_luhn(card):
            return ()
        return (_of_person(PersonField.BANKCARD, "check digit does not match"),)

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
        numbers = leaks.numbers_of(_child(_child(tree, "personalSpec"), "personalUser"))
        source = tree.get("source", DEFAULT_SOURCE)
        if not isinstance(source, str) or not SOURCE.fullmatch(source):
            source = DEFAULT_SOURCE
        problems += problems_of(error)
        source, envelope = leaks.without_leaks(source, envelope, numbers, problems)
        request_id: Any = tree.get("requestId") or delivery.message_id
        if problem := _request_id_problem(request_id, numbers):
            return _unreadable("no_usable_id", problem, envelope, delivery, "requestId")
        if not any(map(leaks.may_be_id_number, numbers)):
            # Whose number stands in the wrong place cannot be told: nobody's may.
            if leaks.may_be_id_number(request_id):
                return _unreadable("no_usable_id", leaks.LEAK, envelope, delivery, "requestId")
            envelope = leaks.of_nobody(envelope)
            source = DEFAULT_SOURCE if leaks.may_be_id_number(source) else source
        refusals = (*problems, *_request_id_spelling(request_id))
        return Refused(request_id, source, _check_type(tree), refusals, envelope, delivery.body)


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


def _is_no_json(reading: Reading) -> TypeGuard[Unreadable]:
    return isinstance(reading, Unreadable) and reading.reason == "not_json"


def _of_person(field: PersonField, problem: str) -> FieldProblem:
    return FieldProblem(f"personalSpec.personalUser.{field}", problem)


def _unreadable(
    reason: str, problem: str, envelope: Envelope, delivery: Delivery, path: str = "body"
) -> Unreadable:
    return Unreadable(reason, FieldProblem(path, problem), leaks.of_nobody(envelope), delivery.body)


def _request_id_problem(value: object, numbers: list[str]) -> str | None:
    """Return what is wrong with an id; an id without a problem is a `str`."""
    if value is None or value == "":
        return "is required, here or as the AMQP message_id"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > REQUEST_ID_LIMIT or not value.isprintable():
        return f"must have 1 to {REQUEST_ID_LIMIT} printable characters"
    return leaks.LEAK if leaks.holds(value, numbers) else None


def _request_id_spelling(request_id: str) -> tuple[FieldProblem, ...]:
    """Return why an id looks like another one that the ledger would pay for as well."""
    blank = "has a blank at its beginning or end"
    found = [blank] if request_id != request_id.strip() else []
    if not unicodedata.is_normalized("NFC", request_id):
        found.append("is not in Unicode normal form C")
    return tuple(FieldProblem("requestId", problem) for problem in found)


def _child(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def _check_type(tree: Mapping[str, Any]) -> int | None:
    value = _child(tree, "personalSpec").get("checkType")
    return value if type(value) is int and 0 <= value <= 4 else None
