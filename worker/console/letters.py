"""Dead letters and unrouted events: what stands in the two queues for people. It blocks.

Looking holds a queue for a moment, so nobody looks twice at a time, and no page does by itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from worker.admin.letter_facts import letter_facts
from worker.amqp.dead_letter_queue import DeadLetterQueue
from worker.contract.names import DEAD, UNROUTED
from worker.core.timing import shanghai_date
from worker.deadletters import unrouted_events
from worker.deadletters.acting import Acting
from worker.deadletters.prospects import prospects
from worker.deadletters.reading import LetterReader
from worker.deadletters.selecting import Filters, bodies, select
from worker.deadletters.unrouted_events import EventFilter, UnroutedEvent
from worker.store.inquiry import PostgresInquiry
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.admin.cells import Cell
    from worker.contract.encryption import MessageKeys
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
    origin: Known | UnroutedEvent = field(repr=False)


@dataclass(frozen=True, slots=True)
class Group:
    """Messages with the same reason or routing key, the oldest first."""

    name: str
    items: list[Item]

    @property
    def sources(self) -> list[tuple[str, int]]:
        """Who published them, the most frequent first."""
        return Counter(each.source or "-" for each in self.items).most_common(4)


def grouped(items: Sequence[Item]) -> list[Group]:
    """Return the groups, the largest first."""
    in_order = sorted(items, key=lambda item: item.group)
    groups = [Group(name, list(each)) for name, each in groupby(in_order, lambda item: item.group)]
    return sorted(groups, key=lambda group: -len(group.items))


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """`verification.dead`, by reason."""

    url: str
    keys: MessageKeys | None
    engine: Engine
    sign: Callable[[bytes], str]
    path: str = "dead-letters"
    queue: str = DEAD

    def look(self, wanted: Wanted) -> list[Item]:
        """Return the letters that are meant."""
        now = SystemClock().now()
        with DeadLetterQueue.opened(self.url) as queue:
            chosen = select(queue, self._reader(), self._filters(wanted)).chosen
        return [self._item(known, now) for known in chosen]

    def body(self, token: str) -> object:
        """Return a letter's body, masked."""
        one = _OneLetter(token=token, sign=self.sign)
        with DeadLetterQueue.opened(self.url) as queue:
            found = bodies(queue, self._reader(), one, 1, shanghai_date(SystemClock().now()))
        return found[0][1] if found else None

    def prospects(self, items: Sequence[Item]) -> dict[str, int]:
        """Ask the ledger which of them are finished."""
        return prospects(_letters(items), PostgresInquiry(self.engine).finished)

    def order(
        self, verb: str, items: Sequence[Item]
    ) -> tuple[Callable[[], object], Callable[[], int]]:
        """Return what acts on exactly these."""
        marks = Counter(known.mark for known in _letters(items))
        acted: list[Acting] = []

        def act() -> None:
            with DeadLetterQueue.opened(self.url) as queue:
                acted.append(acting := Acting(queue, self._reader(), SystemClock()))
                if verb == "replay":
                    acting.replay(marks, _REPLAYED_PER_SECOND)
                else:
                    acting.drop(marks)

        return act, lambda: acted[0].done if acted else 0

    def _reader(self) -> LetterReader:
        return LetterReader(shanghai_date(SystemClock().now()), self.keys)

    def _filters(self, wanted: Wanted) -> Filters:
        if wanted.token is not None:
            return _OneLetter(token=wanted.token, sign=self.sign)
        return Filters(wanted.name, wanted.group, wanted.source)

    def _item(self, known: Known, now: datetime) -> Item:
        facts = letter_facts(known, now)
        token, seen = self.sign(known.mark), known.first_seen
        return Item(token, known.reason, known.request_id, known.source, seen, facts, known)


@dataclass(frozen=True, slots=True)
class _OneLetter(Filters):
    """The letter that has this token."""

    token: str = ""
    sign: Callable[[bytes], str] = bytes.hex

    def match(self, known: Known) -> bool:
        """Return whether it is this one."""
        return self.sign(known.mark) == self.token


def _letters(items: Sequence[Item]) -> list[Known]:
    return [each.origin for each in items if not isinstance(each.origin, UnroutedEvent)]


@dataclass(frozen=True, slots=True)
class UnroutedEvents:
    """`verification.unrouted`, by routing key."""

    url: str
    sign: Callable[[bytes], str]
    path: str = "unrouted"
    queue: str = UNROUTED

    def look(self, wanted: Wanted) -> list[Item]:
        """Return the events that are meant."""
        chosen = EventFilter(wanted.source)
        with DeadLetterQueue.opened(self.url, self.queue) as queue:
            items = [self._item(each) for each in unrouted_events.events(queue, chosen)]
        return [
            each
            for each in items
            if wanted.group in (None, each.group)
            and wanted.name in (None, each.request_id)
            and wanted.token in (None, each.token)
        ]

    def body(self, token: str) -> None:
        """Show none: an event is its result, which the table of requests has."""

    def prospects(self, items: Sequence[Item]) -> dict[str, int]:
        """Say that nobody knows who is bound now."""
        return {"published again; what still reaches nobody comes back": len(items)}

    def order(
        self, verb: str, items: Sequence[Item]
    ) -> tuple[Callable[[], object], Callable[[], int]]:
        """Return what acts on exactly these."""
        events = Counter(each.origin for each in items if isinstance(each.origin, UnroutedEvent))
        done: list[int] = []

        def act() -> None:
            with DeadLetterQueue.opened(self.url, self.queue) as queue:
                carry_out = unrouted_events.replay if verb == "replay" else unrouted_events.drop
                done.append(carry_out(queue, events))

        return act, lambda: sum(done)

    def _item(self, event: UnroutedEvent) -> Item:
        facts: dict[str, Cell] = {
            "request_id": event.request_id,
            "source": event.source,
            "outcome": event.outcome,
            "routing_key": event.routing_key,
            "published": event.published,
            "event_id": event.event_id,
        }
        token = self.sign(repr(event).encode())
        return Item(
            token,
            event.routing_key or "-",
            event.request_id,
            event.source,
            event.published,
            facts,
            event,
        )


Box = DeadLetters | UnroutedEvents
"""A queue for people."""
