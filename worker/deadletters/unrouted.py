"""What may be known of a result event that no queue was bound for.

It carries no personal data but what a publisher has put into `context`, which is never shown.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from worker.core.delivery import Letter
from worker.core.masking import scrub
from worker.deadletters.body import tree_of
from worker.deadletters.reading import WITHHELD, property_shown


@dataclass(frozen=True, slots=True)
class UnroutedEvent:
    """What may be shown of an event; None where it does not say it."""

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
    def read(cls, letter: Letter) -> UnroutedEvent:
        """Read a message of the queue, whoever put it there; never raises."""
        told = tree_of(letter.delivery.body)
        request_id, source, outcome = (
            text if isinstance(text := told.get(name), str) else None
            for name in ("requestId", "source", "outcome")
        )
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
