"""Which letters are meant, and what is done with them.

They are chosen by the facts that are asked for, or by the persons they are about; whoever looks
puts them all back. Replayed or dropped is each letter that was selected, once, and no other: one
that fails again comes back to the queue with a new mark, so no replay runs in a circle; one that
arrived after the selection was not shown to anybody and stays.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, TypeVar

from worker.amqp.dead_letter_queue import DeadLetterQueue, HeldDeadLetters
from worker.contract import internal
from worker.contract.names import RESULTS
from worker.core.delivery import Letter
from worker.core.outcome import BadMessage
from worker.deadletters.body import holds, masked_body, personal_texts, stand_in
from worker.deadletters.reading import (
    UNREADABLE_REASONS,
    Encrypted,
    Known,
    LetterReader,
    UnroutedEvent,
)
from worker.ports import Clock

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a letter must be; None is anything. Times are of `first_seen`.

    `name` is a request id or a message id, as it was sent.
    """

    name: str | None = None
    reason: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def match(self, known: Known) -> bool:
        """Return whether a letter is meant; one without the fact that is asked for is not."""
        return (
            (self.name is None or self.name in known.names)
            and self.reason in (None, known.reason)
            and self.source in (None, known.real_source)
            and _is_between(self.since, known.first_seen, self.until)
        )


@dataclass(frozen=True, slots=True)
class EventFilters:
    """What an unrouted event must be; None is anything. Times are of its publication."""

    request_id: str | None = None
    source: str | None = None
    outcome: str | None = None
    routing_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def match(self, event: UnroutedEvent) -> bool:
        """Return whether an event is meant; one without the fact that is asked for is not."""
        return (
            self.request_id in (None, event.real_request_id)
            and self.source in (None, event.source)
            and self.outcome in (None, event.outcome)
            and self.routing_key in (None, event.real_routing_key)
            and _is_between(self.since, event.published, self.until)
        )


def _is_between(since: datetime | None, at: datetime | None, until: datetime | None) -> bool:
    if at is None:
        return since is None and until is None
    return (since is None or at >= since) and (until is None or at < until)


@dataclass(slots=True)
class Selection(Generic[L]):
    """What stood in the queue, the oldest first, and which of it is meant."""

    chosen: list[L] = field(default_factory=list)
    """Those that are meant, up to the limit. The same message may stand there twice."""
    matching: int = 0
    """How many are meant."""
    seen: int = 0
    """How many stand there."""
    all_seen: bool = True
    """False where more stood there than can be looked at."""
    closed: int = 0
    """Where persons are looked for: those encrypted to a key that is not here, so that nobody can
    tell whose they are."""


def select(
    queue: DeadLetterQueue,
    read: Callable[[Letter], L | None],
    match: Callable[[L], bool] = lambda _: True,
    limit: int | None = None,
) -> Selection[L]:
    """Read all letters and choose those that match; None is of one that nobody looks for.

    Raises what the queue does.
    """
    found = Selection[L]()
    with queue.hold() as held:
        for letter in held.letters():
            found.seen += 1
            one = read(letter)
            if one is not None and match(one):
                found.matching += 1
                if limit is None or len(found.chosen) < limit:
                    found.chosen.append(one)
        found.all_seen = held.all_seen
    return found


def select_about(
    queue: DeadLetterQueue, reader: LetterReader, id_cards: Collection[str]
) -> Selection[Known]:
    """Choose the letters about some persons; `id_cards` are normalised.

    A letter that cannot be read as a request is searched too: it was kept because something is
    wrong with it, and that may be its form. Raises what the queue does.
    """
    closed = 0

    def read(letter: Letter) -> Known | None:
        nonlocal closed
        forms = list(reader.forms(letter))
        open_ = [body for body, encrypted in forms if encrypted is not Encrypted.CLOSED]
        beside = (repr(letter.properties), *personal_texts({"beside": vars(letter.properties)}))
        is_theirs = stand_in(beside, id_cards) or any(holds(each, id_cards) for each in open_)
        closed += not is_theirs and len(open_) < len(forms)
        return reader.read(letter) if is_theirs else None

    found = select(queue, read)
    found.closed = closed
    return found


def bodies(
    queue: DeadLetterQueue, reader: LetterReader, filters: Filters, limit: int, today: date
) -> list[tuple[Known, object]]:
    """Return the oldest of these letters and their masked bodies; raises what the queue does."""
    found = select(
        queue,
        lambda letter: (reader.read(letter), letter),
        lambda pair: filters.match(pair[0]),
        limit,
    )
    return [
        (known, masked_body(reader.open(letter)[0], known.request_id, known.source, today))
        for known, letter in found.chosen
    ]


def prospects(
    chosen: Sequence[Known], finished: Callable[[Sequence[str]], Mapping[str, bool]]
) -> dict[str, int]:
    """Count the letters by what becomes of them; `finished` says which requests have an outcome."""
    ids = sorted({known.real_request_id for known in chosen if known.real_request_id is not None})
    states = finished(ids)
    done = sum(states.get(known.real_request_id or "", False) for known in chosen)
    unreadable = sum(map(_is_unreadable, chosen))
    closed = sum(known.encrypted is Encrypted.CLOSED for known in chosen)
    return {
        "finished: the event is repeated, no call is made": done,
        "unreadable: dead-lettered again": unreadable,
        "not to be opened here (MESSAGE_KEYS): may be called, and charged": closed,
        "not finished: may be called, and charged": len(chosen) - done - unreadable - closed,
    }


def _is_unreadable(known: Known) -> bool:
    """Return whether a replay would come back, as far as can be seen here."""
    if known.encrypted is Encrypted.CLOSED or known.reason not in UNREADABLE_REASONS:
        return False
    # What was not opened then and is now has its key back, unless there is no request in it.
    return known.reason != BadMessage.UNDECRYPTABLE or known.real_request_id is None


# Brokers close a channel that holds a message for 30 minutes (`consumer_timeout`), and a slow
# replay takes longer: it lets go of the rest in time and takes hold again.
HOLD_SECONDS = 600.0


class Acting(Generic[L]):
    """Does something with chosen letters; `done` counts, also where an error ended it.

    `read` is how they were read when they were chosen.
    """

    def __init__(self, queue: DeadLetterQueue, read: Callable[[Letter], L], clock: Clock) -> None:
        self._queue = queue
        self._read = read
        self._clock = clock
        self.done = 0

    def replay(self, chosen: Iterable[L], per_second: float) -> None:
        """Publish dead letters to the requests queue again, so many a second at most.

        A letter is acknowledged when the broker has confirmed its message, so that a crash at any
        moment leaves it in one queue or in both, never in none. In both it is the ledger that
        answers the second one.
        """

        def again(held: HeldDeadLetters, letter: Letter) -> None:
            held.publish(internal.replay(letter.delivery))
            held.acknowledge(letter)
            held.wait(1.0 / per_second)

        self._each(chosen, again)

    def announce(self, chosen: Iterable[L]) -> None:
        """Publish unrouted events again, as they were; a crash leaves one twice, as above."""

        def again(held: HeldDeadLetters, letter: Letter) -> None:
            held.pass_on(letter, RESULTS)
            held.acknowledge(letter)

        self._each(chosen, again)

    def drop(self, chosen: Iterable[L]) -> None:
        """Take the letters out of the queue for good."""
        self._each(chosen, lambda held, letter: held.acknowledge(letter))

    def _each(self, chosen: Iterable[L], act: Callable[[HeldDeadLetters, Letter], None]) -> None:
        left = Counter(chosen)
        before = -1
        # Whoever replayed or dropped the others meanwhile: a whole pass without one is the end.
        while left.total() and self.done != before:
            before = self.done
            self._pass(left, act)

    def _pass(self, left: Counter[L], act: Callable[[HeldDeadLetters, Letter], None]) -> None:
        until = self._clock.monotonic() + HOLD_SECONDS
        with self._queue.hold() as held:
            for letter in held.letters():
                one = self._read(letter)
                if left[one] > 0 and self._clock.monotonic() < until:
                    act(held, letter)
                    left[one] -= 1
                    self.done += 1
