"""Which texts may be repeated of a message: ids, sources, addresses and contexts of nobody's."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.contract.envelope import correlates
from worker.contract.request_model import DEFAULT_SOURCE, REQUEST_ID_LIMIT
from worker.core import spelling
from worker.core.checks import ID_NUMBER_IN_TEXT, passes_check_digit
from worker.core.claims import Envelope
from worker.core.delivery import Delivery
from worker.core.outcome import FieldProblem
from worker.core.request import PersonField

LEAK = "must not contain the person's data"

# What stands between digits, as JSON writes it in a context.
_ESCAPED_BLANK = re.compile(r"\\(?:[tnrf]|u000b|u001[c-f])")
_COUNTRY_CODE = re.compile(r"^(?:\+|00)86")
_NUMBERS = (PersonField.ID_CARD, PersonField.BANKCARD, PersonField.MOBILE)
# Looked for at every place, for an ID number may follow other digits.
_ID_NUMBER = re.compile(f"(?=({ID_NUMBER_IN_TEXT}))")


def numbers_of(*users: Mapping[Any, object]) -> list[str]:
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
    compact = [_COUNTRY_CODE.sub("", spelling.number(text)) for text in texts]
    return [text for text in {*texts, *compact} if len(text) >= 6]


def persons_in(tree: object) -> list[Mapping[Any, object]]:
    """Return the fields of persons in a message that is no request, wherever they stand in it."""
    found: list[Mapping[Any, object]] = []
    rest = [tree]
    while rest:  # no recursion: a hostile body is nested as deep as its parser allows
        value = rest.pop()
        if isinstance(value, dict):
            if named := {name: value[name] for name in _NUMBERS if name in value}:
                found.append(named)
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return found


def holds(text: str, numbers: Sequence[str]) -> bool:
    """Return whether a text has one of the numbers in it: in groups and in wide digits, too."""
    folded = unicodedata.normalize("NFKC", text).upper()
    compact = spelling.compact(_ESCAPED_BLANK.sub("", text))
    return any(number in folded or number in compact for number in numbers)


def request_id_problem(value: object, numbers: Sequence[str]) -> str | None:
    """Return what is wrong with an id; an id without a problem is a `str`."""
    if value is None or value == "":
        return "is required, here or as the AMQP message_id"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > REQUEST_ID_LIMIT or not value.isprintable():
        return f"must have 1 to {REQUEST_ID_LIMIT} printable characters"
    return LEAK if holds(value, numbers) else None


def request_id_spelling(request_id: str) -> tuple[FieldProblem, ...]:
    """Return why an id looks like another one that the ledger would pay for as well."""
    blank = "has a blank at its beginning or end"
    found = [blank] if request_id != request_id.strip() else []
    if not unicodedata.is_normalized("NFC", request_id):
        found.append("is not in Unicode normal form C")
    return tuple(FieldProblem("requestId", problem) for problem in found)


def without_leaks(
    source: str, envelope: Envelope, numbers: Sequence[str], problems: list[FieldProblem]
) -> tuple[str, Envelope]:
    """Return the source and envelope without what repeats a person's number."""
    if holds(source, numbers):
        problems.append(FieldProblem("source", LEAK))
        source = DEFAULT_SOURCE
    for name in ("reply_to", "correlation_id"):
        if (text := getattr(envelope, name)) is not None and holds(text, numbers):
            problems.append(FieldProblem(f"properties.{name}", LEAK))
            envelope = replace(envelope, **{name: None})
    return source, envelope


def correlated(envelope: Envelope, delivery: Delivery, numbers: Sequence[str]) -> Envelope:
    """Return an envelope that is correlated by the message_id where it is by nothing else."""
    named = delivery.message_id
    if envelope.correlation_id or not named or not correlates(named) or holds(named, numbers):
        return envelope
    return replace(envelope, correlation_id=named)


def may_be_id_number(text: str) -> bool:
    """Return whether an ID number with its right check digit may stand in a text."""
    return any(map(passes_check_digit, _ID_NUMBER.findall(text)))


def of_nobody(envelope: Envelope) -> Envelope:
    """Return what may be repeated of a message that names no person to compare with.

    What could be anybody's ID number is left out. One in 500 long numbers that are none look like
    one: good enough for a message that is wrong anyway, and no reason to refuse one.
    """
    texts = (envelope.reply_to, envelope.correlation_id)
    reply_to, correlation_id = (None if text and may_be_id_number(text) else text for text in texts)
    return Envelope(reply_to, correlation_id, envelope.traceparent)
