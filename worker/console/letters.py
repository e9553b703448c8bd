"""Dead letters and unrouted events: what stands in the two queues for people. It blocks.

Looking holds a queue for a moment, so nobody looks twice at a time, and no page does by itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from worker.amqp.dead_letter_queue import DeadLetterQueue
from worker.deadletters.selecting import Acting, select
from worker.deadletters.unrouted import UnroutedEvent
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from worker.admin.cells import Cell
    from worker.deadletters.reading import Known

# As `dead-letters replay` has it.
_REPLAYED_PER_SECOND = 50.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are meant; None is any."""

    group: str | None = None
    source: str | None = None
    name: str | None = None
    """A request id or a message id."""
    token: str | None = None
    """One message, by the name that this process gave it."""


@dataclass(frozen=True, slots=True)
class Item:
    """What may be shown of one message."""

    token: str
    group: str
    """What messages of a kind have in common: a reason, a routing key."""
    request_id: str | None
    source: str | None
    since: datetime | None
    facts: dict[str, Cell]
    body: object
    """Masked; None where it was not asked for, or is never shown."""
    origin: Known | UnroutedEvent = field(repr=False)


@dataclass(frozen=True, slots=True)
class Group:
    """Messages with the same reason or routing key, the oldest first."""

    name: str
    messages: list[Item]

    @property
    def sources(self) -> list[tuple[str, int]]:
        """Who published them, the most frequent first."""
        return Counter(each.source or "-" for each in self.messages).most_common(4)


def grouped(items: Sequence[Item]) -> list[Group]:
    """Return the groups, the largest first."""
    in_order = sorted(items, key=lambda item: item.group)
    groups = [Group(name, list(each)) for name, each in groupby(in_order, lambda item: item.group)]
    return sorted(groups, key=lambda group: -len(group.messages))


class Box:
    """A queue for people. Whatever asks the broker raises what the queue does."""

    path: str
    queue: str

    def __init__(self, url: str, sign: Callable[[bytes], str]) -> None:
        self._url = url
        self._sign = sign
        """Makes the name of one message."""

    def look(self, wanted: Wanted) -> list[Item]:
        """Return the messages that are meant, the oldest first."""
        with DeadLetterQueue.opened(self._url, self.queue) as queue:
            return select(queue, lambda letter: self._item(letter, wanted), lambda _: True).chosen

    def prospects(self, items: Sequence[Item]) -> dict[str, int]:
        """Count what a replay of these will do, in words."""
        raise NotImplementedError

    def order(
        self, verb: str, items: Sequence[Item]
    ) -> tuple[Callable[[], object], Callable[[], int]]:
        """Return what replays or drops these, and what counts how many it has done."""
        chosen, acted = [each.origin for each in items], list[Acting[Any]]()

        def act() -> None:
            with DeadLetterQueue.opened(self._url, self.queue) as queue:
                acted.append(acting := Acting(queue, self._read, SystemClock()))
                if verb == "drop":
                    acting.drop(chosen)
                else:
                    self._replay(acting, chosen)

        return act, lambda: acted[0].done if acted else 0
