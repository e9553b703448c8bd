"""What may be known of a dead letter: everything in it is from outside, and may be a person's.

A text is shown where it belongs to a closed list, or where the contract's own reader accepts it
and it holds none of the values of the letter's person; else it is withheld, and can still be
asked for by who knows it.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Self

from worker.contract.encryption import MessageKeys, Undecryptable, decrypted, is_encrypted
from worker.contract.envelope import NotUnpacked, beginning, unpacked, usable_traceparent
from worker.contract.internal import PUBLISHED_AS, PUBLISHED_BY, death, first_seen
from worker.contract.request_v1 import Accepted, Refused, RequestReader
from worker.core.checks import CheckPolicy
from worker.core.delivery import Delivery, Letter
from worker.core.masking import scrub
from worker.core.outcome import BadMessage, CallClass, ErrorKind
from worker.deadletters.body import MOST_READ, personal_texts, tree_of

WITHHELD = "(withheld)"
"""Stands for a text that may hold personal data."""

UNREADABLE_REASONS: frozenset[str] = frozenset(BadMessage)
"""A message with one of these is dead-lettered again when it is replayed."""

BROKER_REASONS = frozenset({"delivery_limit", "rejected", "expired", "maxlen"})
"""Why the broker itself dead-letters, as RabbitMQ has it in `x-death`."""

REASONS = UNREADABLE_REASONS | BROKER_REASONS | {kind.value for kind in ErrorKind}
"""All that `reason` may be; whatever else a header says is shown as `unknown`."""

_ERRORS = REASONS | {each.value for each in CallClass}
UNKNOWN = "unknown"
# Where persons are looked for: what was too large to be worked on, and packed twice.
_MOST_SEARCHED = 16 * MOST_READ
_MOST_LAYERS = 2
_PLAIN = re.compile(r"[\x20-\x7e]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Encrypted(StrEnum):
    """Whether a letter is encrypted, and what that means to who looks."""

    NO = "no"
    OPENED = "opened"
    CLOSED = "closed"
    """There is no key here, or none that opens it: only its properties are known."""


@dataclass(frozen=True, slots=True)
class Known:
    """What may be shown of one dead letter."""

    request_id: str | None
    """None where the message has no usable one."""
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    app_id: str | None
    user_id: str | None
    routing_key: str | None
    traceparent: str | None
    source: str | None
    reason: str
    attempts: int | None
    first_seen: datetime | None
    """For what the broker put here itself: when it did."""
    last_error: str | None
    size: int
    """Bytes of the body."""
    encrypted: Encrypted
    other_headers: int = field(compare=False)
    """Headers that are none of ours; they are never shown. The broker adds one at a look."""
    mark: bytes = field(repr=False)
    """Tells this letter from others, and from itself when it is dead-lettered again."""
    names: frozenset[str] = field(repr=False)
    """Its ids as they were sent, to be asked for; never shown."""
    real_source: str | None = field(repr=False)
    """Its source as it was sent, likewise."""
    real_request_id: str | None = field(repr=False)
    """Its id as the ledger has it, likewise."""


class LetterReader:
    """Reads letters; never raises, whatever they hold. `today` is any recent date.

    `keys` open those that are encrypted.
    """

    def __init__(self, today: date, keys: MessageKeys | None = None) -> None:
        self._today = today
        self._keys = keys
        # How strict the checks are decides whether a request is refused, not what its id is.
        self._reader = RequestReader(CheckPolicy(), MOST_READ)

    def read(self, letter: Letter) -> Known:
        """Return what may be known of a letter."""
        delivery, headers = letter.delivery, letter.headers
        body, encrypted = self.open(letter)
        tree = tree_of(body)
        personal = personal_texts(tree)
        request_id, source = self._names(replace(delivery, body=body, content_encoding=None))
        named = (request_id, tree.get("requestId"), delivery.message_id)
        return Known(
            request_id=_safe(request_id, personal),
            message_id=property_shown(delivery.message_id, personal),
            correlation_id=property_shown(delivery.correlation_id, personal),
            reply_to=property_shown(delivery.reply_to, personal),
            app_id=property_shown(delivery.app_id, personal),
            user_id=property_shown(delivery.user_id, personal),
            routing_key=property_shown(delivery.routing_key, personal),
            traceparent=_safe(usable_traceparent(delivery), personal),
            source=_safe(source, personal),
            reason=_listed(death(headers) or headers.get("reason"), REASONS),
            attempts=_count(headers.get("attempts")),
            first_seen=first_seen(headers),
            last_error=_listed(headers["lastError"], _ERRORS) if "lastError" in headers else None,
            size=len(delivery.body),
            encrypted=encrypted,
            other_headers=len(headers.keys() - _OWN_HEADERS),
            mark=_mark(letter),
            names=frozenset(name for name in named if isinstance(name, str) and name),
            real_source=source,
            real_request_id=request_id,
        )

    def open(self, letter: Letter) -> tuple[bytes, Encrypted]:
        """Return the body, unpacked and opened where it can be."""
        body = letter.delivery.body
        with suppress(NotUnpacked):
            body = unpacked(letter.delivery, MOST_READ).body
        return self._opened(body)

    def forms(self, letter: Letter) -> Iterator[tuple[bytes, Encrypted]]:
        """Yield the body as it is read, and as it would be if more were said of how it is packed.

        A letter is here because something is wrong with it, and somebody's number is in it still.
        """
        yield self.open(letter)
        body = letter.delivery.body
        for _ in range(_MOST_LAYERS):
            if not (body := beginning(body, _MOST_SEARCHED)):
                return
            yield self._opened(body)

    def _opened(self, body: bytes) -> tuple[bytes, Encrypted]:
        if not is_encrypted(body):
            return body, Encrypted.NO
        try:
            return decrypted(body, self._keys), Encrypted.OPENED
        except Undecryptable:
            return body, Encrypted.CLOSED

    def _names(self, delivery: Delivery) -> tuple[str | None, str | None]:
        """Return the request id and the source that the contract's reader accepts."""
        match self._reader.read(delivery, self._today):
            case Accepted(request):
                return request.request_id, request.source
            case Refused(request_id, source):
                return request_id, source
            case _:
                return None, None


def _safe(text: str | None, personal: frozenset[str]) -> str | None:
    """Return a text that the contract accepted, unless it holds a value of its person."""
    holds_one = text is not None and any(value in text.upper() for value in personal)
    return WITHHELD if holds_one else text


def property_shown(text: str | None, personal: frozenset[str]) -> str | None:
    """Return a property that nobody has checked: ASCII alone, and without long numbers.

    Where the body cannot be read, nobody knows whose name a word might be.
    """
    if text is None or _safe(text, personal) == WITHHELD or not _PLAIN.fullmatch(text):
        return None if text is None else WITHHELD
    return text if _UUID.fullmatch(text) else scrub(text, None)


def _listed(code: object, codes: frozenset[str]) -> str:
    return code if isinstance(code, str) and code in codes else UNKNOWN


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1_000_000 else None


_OWN_HEADERS = frozenset(
    {"reason", "attempts", "firstSeen", "lastError", "traceparent", PUBLISHED_BY, PUBLISHED_AS}
)


def _mark(letter: Letter) -> bytes:
    """Return a digest of the message with its dead-letter headers, for this process alone."""
    delivery, headers = letter.delivery, letter.headers
    about = (
        delivery.message_id,
        delivery.correlation_id,
        delivery.reply_to,
        *(headers.get(name) for name in ("reason", "attempts", "firstSeen", "x-death")),
    )
    return hashlib.sha256(repr(about).encode("utf-8", "surrogatepass") + delivery.body).digest()


@dataclass(frozen=True, slots=True)
class UnroutedEvent:
    """What may be shown of a result event that no queue was bound for; None: it does not say it.

    It carries no personal data but what a publisher has put into `context`, which is never shown.
    """

    request_id: str | None
    source: str | None
    outcome: str | None
    routing_key: str
    published: datetime | None
    event_id: str | None
    real_request_id: str | None = field(repr=False)
    """Its id as it was sent, to be asked for; never shown."""
    real_routing_key: str = field(repr=False)
    """Likewise."""

    @classmethod
    def read(cls, letter: Letter) -> Self:
        """Read a message of the queue, whoever put it there; never raises."""
        told = tree_of(letter.delivery.body)
        named = (told.get(name) for name in ("requestId", "source", "outcome"))
        request_id, source, outcome = (each if isinstance(each, str) else None for each in named)
        key, seconds = letter.origin
        published = None
        with suppress(ValueError, OverflowError, OSError):  # AMQP has years that no calendar has
            published = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
        return cls(
            request_id if request_id is None or scrub(request_id, None) == request_id else WITHHELD,
            source and scrub(source, None),
            outcome and scrub(outcome, None),
            scrub(key, None),
            published,
            property_shown(letter.delivery.message_id, frozenset()),
            request_id,
            key,
        )
