"""Which dead letters are meant: by the facts that are asked for, or by the persons they are about.

Whoever looks puts them all back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.core import spelling
from worker.deadletters.body_texts import personal_texts, tree_of
from worker.deadletters.body_view import masked_body
from worker.deadletters.reading import Encrypted

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date, datetime

    from worker.deadletters.reading import Known, LetterReader
    from worker.ports import LetterQueue


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
            and (self.reason is None or self.reason == known.reason)
            and (self.source is None or self.source == known.real_source)
            and self._is_in_time(known.first_seen)
        )

    def _is_in_time(self, seen: datetime | None) -> bool:
        if seen is None:
            return self.since is None and self.until is None
        return (self.since is None or seen >= self.since) and (
            self.until is None or seen < self.until
        )


@dataclass(slots=True)
class Selection:
    """What stood in the queue, the oldest first, and which of it is meant."""

    chosen: list[Known] = field(default_factory=list)
    """Those that are meant, up to the limit."""
    matching: int = 0
    """How many are meant."""
    seen: int = 0
    """How many stand there."""
    all_seen: bool = True
    """False where more stood there than can be looked at."""
    closed: int = 0
    """Where persons are looked for: those encrypted to a key that is not here, so that nobody can
    tell whose they are."""

    def marks(self) -> Counter[bytes]:
        """Return the chosen letters' marks: the same message may stand there twice."""
        return Counter(known.mark for known in self.chosen)


def select(
    queue: LetterQueue, reader: LetterReader, filters: Filters, limit: int | None = None
) -> Selection:
    """Choose among all dead letters by their facts; raises what the queue does."""
    found = Selection()
    with queue.hold() as held:
        for letter in held.letters():
            found.seen += 1
            known = reader.read(letter)
            if filters.match(known):
                found.matching += 1
                if limit is None or len(found.chosen) < limit:
                    found.chosen.append(known)
        found.all_seen = held.all_seen
    return found


def select_about(queue: LetterQueue, reader: LetterReader, id_cards: Collection[str]) -> Selection:
    """Choose the letters about some persons; `id_cards` are normalised.

    A letter that cannot be read as a request is searched too: it was kept because something is
    wrong with it, and that may be its form. Raises what the queue does.
    """
    found = Selection()
    with queue.hold() as held:
        for letter in held.letters():
            found.seen += 1
            body, encrypted = reader.open(letter)
            if encrypted is Encrypted.CLOSED:
                found.closed += 1
            elif holds(body, id_cards):
                found.matching += 1
                found.chosen.append(reader.read(letter))
        found.all_seen = held.all_seen
    return found


def bodies(
    queue: LetterQueue, reader: LetterReader, filters: Filters, limit: int, today: date
) -> list[tuple[Known, object]]:
    """Return the oldest of these letters and their masked bodies; raises what the queue does."""
    found: list[tuple[Known, object]] = []
    with queue.hold() as held:
        for letter in held.letters():
            known = reader.read(letter)
            if filters.match(known) and len(found) < limit:
                found.append((known, masked_body(reader.open(letter)[0], known, today)))
    return found


def holds(body: bytes, id_cards: Collection[str]) -> bool:
    """Return whether one of these ID numbers stands in a body, as it is or as JSON writes it."""
    texts = (body.decode("utf-8", "ignore"), *personal_texts(tree_of(body)))
    return any(number in text for text in map(spelling.compact, texts) for number in id_cards)
