"""Which dead letters are meant, and a survey of those that stand in the queue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.deadletters.masking import masked_body

if TYPE_CHECKING:
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
class Survey:
    """What stood in the queue, the oldest first."""

    chosen: list[Known] = field(default_factory=list)
    """Those that are meant, up to the limit."""
    matching: int = 0
    """How many are meant."""
    seen: int = 0
    """How many stand there."""
    all_seen: bool = True
    """False where more stood there than can be looked at."""

    def marks(self) -> Counter[bytes]:
        """Return the chosen letters' marks: the same message may stand there twice."""
        return Counter(known.mark for known in self.chosen)


def survey(
    queue: LetterQueue, reader: LetterReader, filters: Filters, limit: int | None = None
) -> Survey:
    """Look at all dead letters and put them back; raises what the queue does."""
    found = Survey()
    with queue.hold() as held:
        for letter in held.letters():
            found.seen += 1
            known = reader.read(letter)
            if not filters.match(known):
                continue
            found.matching += 1
            if limit is None or len(found.chosen) < limit:
                found.chosen.append(known)
        found.all_seen = held.all_seen
    return found


def bodies(
    queue: LetterQueue, reader: LetterReader, name: str, today: date
) -> list[tuple[Known, object]]:
    """Return the letters with this id and their masked bodies; raises what the queue does."""
    found = []
    with queue.hold() as held:
        for letter in held.letters():
            known = reader.read(letter)
            if name in known.names:
                found.append((known, masked_body(reader.open(letter)[0], known, today)))
    return found
