"""A message as published becomes a request, a refusal by field, or nothing usable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import orjson
from pydantic import ValidationError

from worker.contract import leaks
from worker.contract.encryption import MessageKeys, Undecryptable, decrypted, is_encrypted
from worker.contract.envelope import NotUnpacked, check_envelope, unknown_encoding, unpacked
from worker.contract.request_model import (
    BYTE_ORDER_MARK,
    DEFAULT_SOURCE,
    SOURCE,
    Accepted,
    Reading,
    Refused,
    RequestV1,
    Unreadable,
    dump_context,
    parse_time,
    problems_of,
    read_person,
    warnings_of,
)
from worker.core.checks import CheckPolicy, IdCardCheck, LuhnCheck, NameCheck
from worker.core.claims import Envelope
from worker.core.delivery import Delivery
from worker.core.outcome import BadMessage, FieldProblem
from worker.core.request import CheckType, Person, VerificationRequest

__all__ = ["Accepted", "Reading", "Refused", "RequestReader", "Unreadable"]


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
            return _unreadable(BadMessage.TOO_LARGE, limit, envelope, delivery)
        try:
            delivery = unpacked(delivery, self.max_bytes)
        except NotUnpacked as error:
            return _unreadable(error.reason, error.problem, envelope, delivery)
        reading = self._read_plain(delivery, envelope, problems, today)
        # An encoding that is not known here is no reason to refuse what can be read all the same.
        match reading:
            case Unreadable(reason=BadMessage.NOT_JSON) if delivery.content_encoding is not None:
                problem = FieldProblem("properties.content_encoding", unknown_encoding(delivery))
                return replace(reading, problem=problem)
        return reading

    def _read_plain(
        self, delivery: Delivery, envelope: Envelope, problems: list[FieldProblem], today: date
    ) -> Reading:
        """Read what is JSON, or JSON in a JWE."""
        if not is_encrypted(delivery.body):
            reading = self._read(delivery, envelope, problems, today)
            return _refuse_raw(reading, delivery.body) if self.required else reading
        try:
            delivery = replace(delivery, body=decrypted(delivery.body, self.keys))
        except Undecryptable as error:
            return _unreadable(BadMessage.UNDECRYPTABLE, str(error), envelope, delivery)
        return self._read(delivery, envelope, problems, today)

    def _read(
        self, delivery: Delivery, envelope: Envelope, problems: list[FieldProblem], today: date
    ) -> Reading:
        """Read what is JSON, or ought to be; `problems` are those of the properties."""
        if delivery.body.startswith(BYTE_ORDER_MARK):
            delivery = replace(delivery, body=delivery.body[len(BYTE_ORDER_MARK) :])
        try:
            parsed = RequestV1.model_validate_json(delivery.body)
        except ValidationError as error:
            return self._refuse(delivery, error, envelope, problems)
        fields, found = read_person(parsed.personalSpec, self.policy, today)
        problems += found
        expires_at = parse_time(parsed.expiresAt, problems)
        context = dump_context(parsed.context, problems)
        numbers = leaks.numbers_of(parsed.personalSpec.personalUser.model_dump(), fields)
        named = parsed.source or DEFAULT_SOURCE
        source, envelope = leaks.without_leaks(named, envelope, numbers, problems)
        request_id = parsed.requestId or delivery.message_id or ""
        if problem := leaks.request_id_problem(request_id, numbers):
            return _unreadable(
                BadMessage.NO_USABLE_ID, problem, envelope, delivery, source, numbers
            )
        if context is not None and leaks.holds(context, numbers):
            problems.append(FieldProblem("context", leaks.LEAK))
        about = (request_id, source, CheckType(parsed.personalSpec.checkType))
        spelling = leaks.request_id_spelling(request_id)
        if len(problems) > len(found):
            return Refused(*about, (*problems, *spelling), envelope, delivery.body)
        if found:  # only by our checks: less strict ones may have let it pass
            loose = _loosest(self.policy, self.max_bytes)
            fields, unreadable = read_person(parsed.personalSpec, loose, today)
        person = Person(fields)
        request = VerificationRequest(request_id, about[2], person, source, expires_at, context)
        if found:
            before = None if unreadable else request
            return Refused(*about, (*found, *spelling), envelope, delivery.body, before=before)
        if spelling:
            return Refused(*about, spelling, envelope, delivery.body, request)
        return Accepted(request, envelope, warnings_of(person, self.policy))

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

    def _refuse(
        self,
        delivery: Delivery,
        error: ValidationError,
        envelope: Envelope,
        problems: list[FieldProblem],
    ) -> Refused | Unreadable:
        """Return a request with wrong fields as refused, and what is no request as unreadable."""
        try:
            tree = orjson.loads(delivery.body)
        except orjson.JSONDecodeError:
            return _unreadable(BadMessage.NOT_JSON, "is not JSON in UTF-8", envelope, delivery)
        if not isinstance(tree, dict):
            return _unreadable(
                BadMessage.NOT_AN_OBJECT, "must be a JSON object", envelope, delivery
            )
        # A CloudEvent around a request: what is in it says who asks.
        is_wrapped = "specversion" in tree
        tree = _child(tree, "data") if is_wrapped else tree
        own = leaks.numbers_of(_child(_child(tree, "personalSpec"), "personalUser"))
        numbers = [*own, *leaks.numbers_of(*leaks.persons_in(tree))]
        problems += problems_of(error)
        source, envelope = leaks.without_leaks(_source(tree), envelope, numbers, problems)
        if leaks.may_be_id_number(source) and not any(map(leaks.may_be_id_number, own)):
            source = DEFAULT_SOURCE
        safe = (envelope, delivery, source, numbers)
        if is_wrapped:
            return _unreadable(BadMessage.CLOUDEVENTS_ENVELOPE, _UNWRAP, *safe)
        request_id: Any = tree.get("requestId") or delivery.message_id
        if problem := leaks.request_id_problem(request_id, numbers):
            return _unreadable(BadMessage.NO_USABLE_ID, problem, *safe)
        if not any(map(leaks.may_be_id_number, own)):
            # Whose number stands in the wrong place cannot be told: nobody's may.
            if leaks.may_be_id_number(request_id):
                return _unreadable(BadMessage.NO_USABLE_ID, leaks.LEAK, *safe)
            envelope = leaks.of_nobody(envelope)
        refusals = (*problems, *leaks.request_id_spelling(request_id))
        return Refused(request_id, source, _check_type(tree), refusals, envelope, delivery.body)


def _loosest(policy: CheckPolicy, max_bytes: int) -> CheckPolicy:
    """Return a policy that reads the same data as any other, and refuses the least."""
    return replace(
        policy,
        id_card=IdCardCheck.OFF,
        luhn=LuhnCheck.OFF,
        name=NameCheck.OFF,
        portrait_min_bytes=0,
        portrait_max_bytes=max_bytes,
    )


_UNWRAP = (
    "is a CloudEvent in structured mode: publish its data alone as the body, its attributes as"
    " headers if you like (binary mode)"
)
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
    reason: BadMessage,
    problem: str,
    envelope: Envelope,
    delivery: Delivery,
    source: str | None = None,
    numbers: Sequence[str] = (),
) -> Unreadable:
    """Return what cannot be read, to be answered under what is safe of its properties."""
    about = FieldProblem("requestId" if reason is BadMessage.NO_USABLE_ID else "body", problem)
    envelope = leaks.of_nobody(leaks.correlated(envelope, delivery, numbers))
    return Unreadable(reason, about, envelope, delivery.body, source)


def _child(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def _source(tree: Mapping[str, Any]) -> str:
    value = tree.get("source")
    return value if isinstance(value, str) and SOURCE.fullmatch(value) else DEFAULT_SOURCE


def _check_type(tree: Mapping[str, Any]) -> int | None:
    value = _child(tree, "personalSpec").get("checkType")
    return value if type(value) is int and 0 <= value <= 4 else None
