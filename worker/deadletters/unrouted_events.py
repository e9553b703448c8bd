"""Result events that no queue was bound for: read, chosen, published again or dropped.

They carry no personal data but what a publisher has put into `context`, which is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from worker.contract.names import RESULTS
from worker.core.masking import scrub

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from worker.amqp.dead_letter_queue import DeadLetterQueue, HeldDeadLetters
    from worker.core.delivery import Letter


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
    def of(cls, letter: Letter) -> UnroutedEvent:
        """Read a message of the queue, whoever put it there."""
        try:
            body = orjson.loads(letter.delivery.body)
        except orjson.JSONDecodeError:
            body = {}
        told: dict[str, Any] = body if isinstance(body, dict) else {}

        def text(name: str) -> str | None:
            return scrub(told[name], None) if isinstance(told.get(name), str) else None

        routing_key, seconds = letter.origin
        published = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
        key, event_id = scrub(routing_key, None), letter.delivery.message_id
        return cls(text("requestId"), text("source"), text("outcome"), key, published, event_id)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant; None is any."""

    source: str | None = None
    outcome: str | None = None
    routing_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def match(self, event: UnroutedEvent) -> bool:
        """Return whether an event is meant; one without the fact that is asked for is not."""
        at = event.published
        return (
            self.source in (None, event.source)
            and self.outcome in (None, event.outcome)
            and self.routing_key in (None, event.routing_key)
            and (self.since is None or (at is not None and at >= self.since))
            and (self.until is None or (at is not None and at < self.until))
        )


def events(queue: DeadLetterQueue, wanted: EventFilter) -> list[UnroutedEvent]:
    """Return the events that are meant, the oldest first; they stay. Raises what the queue does."""
    with queue.hold() as held:
        found = [UnroutedEvent.of(letter) for letter in held.letters()]
    return [each for each in found if wanted.match(each)]


def replay(queue: DeadLetterQueue, chosen: Counter[UnroutedEvent]) -> int:
    """Publish these events again, as they were, for who is bound now; return how many."""

    def again(held: HeldDeadLetters, letter: Letter) -> None:
        held.pass_on(letter, RESULTS)
        held.acknowledge(letter)

    return _each(queue, chosen, again)


def drop(queue: DeadLetterQueue, chosen: Counter[UnroutedEvent]) -> int:
    """Take these events out of the queue for good; return how many."""
    return _each(queue, chosen, lambda held, letter: held.acknowledge(letter))


def _each(
    queue: DeadLetterQueue,
    chosen: Counter[UnroutedEvent],
    act: Callable[[HeldDeadLetters, Letter], None],
) -> int:
    """Do it with each that was chosen and stands there; those that come back are not new ones."""
    left, done = chosen.copy(), 0
    with queue.hold() as held:
        for letter in held.letters():
            event = UnroutedEvent.of(letter)
            if left[event] > 0:
                left[event] -= 1
                act(held, letter)
                done += 1
    return done
