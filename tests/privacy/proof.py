"""The proof, for a data-protection officer: what was searched, and that nothing was found.

    ./deploy/local/privacy-proof          # servers of its own; about a minute

Exit code 1: something was found. What is printed names the place, whose value and which spelling
it was, and never a value.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.privacy.paths import go_all
from tests.privacy.places import PLACES
from tests.privacy.scene import Scene
from tests.privacy.searching import Needle, Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.privacy.canaries import Canary

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Searched:
    """One place, and what came of it."""

    place: str
    items: int
    size: int
    """Bytes."""
    found: tuple[tuple[str, Needle], ...]


def search(scene: Scene, canaries: Sequence[Canary]) -> tuple[Search, list[Searched]]:
    """Search every place for these people; raises nothing where something is found."""
    for hose in scene.firehoses:
        hose.look()
    searches = {
        whose: Search([each for each in canaries if each.label.startswith(whose)])
        for whose in {place.whose for place in PLACES}
    }
    everybody = searches["",]
    found = [_searched(searches[each.whose], each.name, each.items(scene)) for each in PLACES]
    return everybody, found


def _searched(wanted: Search, place: str, opened: Iterable[tuple[str, bytes]]) -> Searched:
    found: list[tuple[str, Needle]] = []
    items = size = 0
    for name, content in opened:
        items, size = items + 1, size + len(content)
        found += [(name, needle) for needle in sorted(wanted.found_in(content))]
    return Searched(place, items, size, tuple(found))


def report(scene: Scene, wanted: Search, results: list[Searched]) -> Iterator[str]:
    """Yield the report's lines."""
    people, needles = len(scene.aviary.canaries), len(wanted.needles)
    yield f"{people} invented people went through {len(scene.jobs)} processes of the real system."
    yield f"{wanted.values:,} values of theirs were looked for in {needles:,} spellings:"
    yield ""
    yield f"| {'place':<34} | {'items':>6} | {'bytes':>11} | found |"
    yield f"|{'-' * 36}|{'-' * 7}:|{'-' * 12}:|------:|"
    for each in results:
        yield f"| {each.place:<34} | {each.items:>6,} | {each.size:>11,} | {len(each.found):>5} |"
    total = sum(each.size for each in results)
    items = sum(each.items for each in results)
    found = sum(len(each.found) for each in results)
    yield f"| {'**all**':<34} | {items:>6,} | {total:>11,} | {found:>5} |"
    for each in results:
        for name, needle in each.found[:_SHOWN]:
            yield f"FOUND in {each.place}, {name}: {needle!r}"


def main() -> None:
    """Carry the proof out and print it."""
    with Scene() as scene:
        go_all(scene)
        wanted, results = search(scene, scene.aviary.canaries)
        for line in report(scene, wanted, results):
            print(line)
    if any(each.found for each in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
