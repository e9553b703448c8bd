"""The search: every spelling of every value, in any bytes, in one pass.

All needles have at least eight bytes, so wherever one stands, five bytes of it begin at a multiple
of four. These five are looked up in a table of all needles' pieces: the cost is that of a look-up
for each four bytes, however many needles there are. Long needles have a table of longer pieces, for
many of them begin alike.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tests.privacy.spellings import needles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.privacy.canaries import Canary

_STEP = 4
# Five bytes, and three characters where each is written as `\u0031`.
_PIECES = (5, 18)
SHORTEST = _PIECES[0] + _STEP - 1


class Needle(NamedTuple):
    """One spelling of one value; printing it shows whose and which, never the value."""

    label: str
    field: str
    spelling: str
    content: bytes

    def __repr__(self) -> str:
        return f"<{self.field} of {self.label}: {self.spelling}>"


class Search:
    """Looks for these people's values."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self.needles: list[Needle] = []
        self.values = 0
        self._tables: dict[int, dict[bytes, list[tuple[int, Needle]]]] = {
            length: defaultdict(list) for length in _PIECES
        }
        known: set[bytes] = set()
        for canary in canaries:
            self.values += 5
            for field, spelling, content in needles(canary):
                if content not in known:
                    known.add(content)
                    self._add(Needle(canary.label, field, spelling, content))

    def _add(self, needle: Needle) -> None:
        if len(needle.content) < SHORTEST:
            raise ValueError(f"{needle!r} is too short to be unmistakable")
        self.needles.append(needle)
        length = max(each for each in _PIECES if each + _STEP - 1 <= len(needle.content))
        for place in range(_STEP):
            piece = needle.content[place : place + length]
            self._tables[length][piece].append((place, needle))

    def found_in(self, hay: bytes) -> set[Needle]:
        """Return the needles that these bytes hold."""
        found: set[Needle] = set()
        for length, pieces in self._tables.items():
            for at in range(0, len(hay) - length + 1, _STEP):
                if (piece := hay[at : at + length]) in pieces:
                    for place, needle in pieces[piece]:
                        if at >= place and hay.startswith(needle.content, at - place):
                            found.add(needle)
        return found
