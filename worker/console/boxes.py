"""Dead letters and unrouted events: what stands in the two queues for people. It blocks.

Looking holds a queue for a moment, so nobody looks twice at a time, and no page does by itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from worker.admin.cells import Cell
from worker.admin.letter_facts import letter_facts
from worker.amqp.dead_letter_queue import DeadLetterQueue
from worker.contract.encryption import MessageKeys
from worker.contract.names import DEAD, UNROUTED
from worker.core.delivery import Letter
from worker.core.operations import REPLAYED_PER_SECOND
from worker.deadletters.body import masked_body
from worker.deadletters.reading import LetterReader, UnroutedEvent
from worker.deadletters.selecting import Acting, EventFilters, Filters, prospects, select
from worker.store.inquiry import PostgresInquiry
from worker.telemetry.clock import SystemClock, today

_EVENT_FACTS = ("request_id", "source", "outcome", "routing_key", "published", "event_id")


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
    origin: Any = field(repr=False)
    """What it was read as: by that it is found again."""


def grouped(items: Iterable[Item]) -> list[tuple[str, list[Item]]]:
    """Return them by reason or routing key, the largest group first; in each the oldest first."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))


def sources(messages: Iterable[Item]) -> list[tuple[str, int]]:
    """Return who published them, the most frequent first."""
    return Counter(each.source or "-" for each in messages).most_common(4)


@dataclass(frozen=True, slots=True)
class Box:
    """A queue for people. Whatever asks the broker raises what the queue does."""

    path: str
    queue: str
    url: str = field(repr=False)
    read: Callable[[Letter], Any]
    item: Callable[[Letter, Wanted], Item | None]
    """Returns a message that is meant."""
    replay: Callable[[Acting[Any], list[Any]], None]
    prospects: Callable[[Sequence[Item]], dict[str, int]]
    """Counts what a replay of these will do, in words."""

    def look(self, wanted: Wanted) -> list[Item]:
        """Return the messages that are meant, the oldest first."""
        with DeadLetterQueue.opened(self.url, self.queue) as queue:
            return select(queue, lambda letter: self.item(letter, wanted)).chosen

    def order(
        self, verb: str, chosen: list[Any], go_on: Callable[[], None]
    ) -> tuple[Callable[[], object], Callable[[], int]]:
        """Return what replays or drops these origins, and what counts how many it has done.

        `go_on` raises where the rest shall be left.
        """
        acted: list[Acting[Any]] = []

        def read(letter: Letter) -> Any:
            go_on()
            return self.read(letter)

        def act() -> None:
            with DeadLetterQueue.opened(self.url, self.queue) as queue:
                acted.append(acting := Acting(queue, read, SystemClock()))
                if verb == "drop":
                    acting.drop(chosen)
                else:
                    self.replay(acting, chosen)

        return act, lambda: acted[0].done if acted else 0


def dead_letters(
    url: str, sign: Callable[[bytes], str], engine: Engine, keys: MessageKeys | None
) -> Box:
    """Return `verification.dead`, by reason; `sign` makes a message's token."""
    reader, finished = LetterReader(today(), keys), PostgresInquiry(engine).finished

    def item(letter: Letter, wanted: Wanted) -> Item | None:
        known = reader.read(letter)
        token, now = sign(known.mark), SystemClock().now()
        is_meant = Filters(wanted.name, wanted.group, wanted.source).match(known)
        if not is_meant or wanted.token not in (None, token):
            return None
        names = (token, known.reason, known.request_id, known.source, known.first_seen)
        body = wanted.token and masked_body(
            reader.open(letter)[0], known.request_id, known.source, today()
        )
        return Item(*names, letter_facts(known, now), body, known)

    return Box(
        "dead-letters",
        DEAD,
        url,
        reader.read,
        item,
        lambda acting, chosen: acting.replay(chosen, REPLAYED_PER_SECOND),
        lambda items: prospects([each.origin for each in items], finished),
    )


def unrouted_events(url: str, sign: Callable[[bytes], str]) -> Box:
    """Return `verification.unrouted`, by routing key; nobody knows who is bound now."""

    def item(letter: Letter, wanted: Wanted) -> Item | None:
        event = UnroutedEvent.read(letter)
        token, group = sign(repr(astuple(event)).encode()), event.routing_key or "-"
        is_meant = EventFilters(wanted.name, wanted.source).match(event)
        if not is_meant or wanted.group not in (None, group) or wanted.token not in (None, token):
            return None
        names = (token, group, event.request_id, event.source, event.published)
        facts = {name: getattr(event, name) for name in _EVENT_FACTS}
        return Item(*names, facts, None, event)

    return Box(
        "unrouted",
        UNROUTED,
        url,
        UnroutedEvent.read,
        item,
        Acting.announce,
        lambda items: {"published again; what still reaches nobody comes back": len(items)},
    )
