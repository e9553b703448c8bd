"""What may be known of a result event that no queue was bound for.

It carries no personal data but what a publisher has put into `context`, which is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from worker.core.delivery import Letter
from worker.core.masking import scrub
from worker.deadletters.body import tree_of


@dataclass(frozen=True, slots=True)
class UnroutedEvent:
    """What may be shown of an event; None where it does not say it."""

    request_id: str | None
    source: str | None
    outcome: str | None
    routing_key: str
    published: datetime | None
    event_id: str | None

    @classmethod
    def read(cls, letter: Letter) -> UnroutedEvent:
        """Read a message of the queue, whoever put it there."""
        told = tree_of(letter.delivery.body)
        request_id, source, outcome = (
            scrub(told[name], None) if isinstance(told.get(name), str) else None
            for name in ("requestId", "source", "outcome")
        )
        key, seconds = letter.origin
        published = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
        event_id = letter.delivery.message_id
        return cls(request_id, source, outcome, scrub(key, None), published, event_id)
