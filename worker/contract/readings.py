"""What a message can be read as: a request, a refusal by field, or nothing usable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.core.claims import Envelope
    from worker.core.outcome import FieldProblem
    from worker.core.request import VerificationRequest


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
    source: str | None = None
    """Who sent it, where its JSON can say so; its answer goes there, if it has no `reply_to`."""


Reading = Accepted | Refused | Unreadable
