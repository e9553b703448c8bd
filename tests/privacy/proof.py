"""The proof, for a data-protection officer: what was searched, and that nothing was found.

    ./deploy/local/privacy-proof          # servers of its own; about a minute

Exit code 1: something was found. What is printed names the place, whose value and which spelling
it was, and never a value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.privacy.canaries import Canary
from tests.privacy.locations import LOCATIONS
from tests.privacy.scenarios import run_all
from tests.privacy.search import Needle, Search
from tests.privacy.system import System, running_system

_SHOWN = 40


@dataclass(slots=True)
class Searched:
    """One place, and what came of it."""

    place: str
    items: int = 0
    size: int = 0
    """Bytes."""
    found: list[tuple[str, Needle]] = field(default_factory=list)


def search(system: System, canaries: Sequence[Canary]) -> list[Searched]:
    """Search every place for these people; raises nothing where something is found."""
    for site in system.sites:
        site.firehose.take()
    searches = {
        whose: Search(each for each in canaries if each.label.startswith(whose))
        for whose in {location.whose for location in LOCATIONS}
    }
    results = []
    for location in LOCATIONS:
        searched = Searched(location.name)
        for name, content in location.items(system):
            searched.items += 1
            searched.size += len(content)
            found = searches[location.whose].found_in(content)
            searched.found += [(name, needle) for needle in sorted(found)]
        results.append(searched)
    return results


def report(system: System, results: Sequence[Searched]) -> Iterator[str]:
    """Yield the report's lines."""
    people, wanted = system.people.all, Search(system.people.all)
    values, spellings = 5 * len(people), len(wanted.needles)
    processes = len(system.jobs)
    yield f"{len(people)} invented people went through {processes} processes of the real system."
    yield f"{values:,} values of theirs were looked for in {spellings:,} spellings:"
    yield ""
    yield f"| {'place':<34} | {'items':>6} | {'bytes':>11} | found |"
    yield f"|{'-' * 36}|{'-' * 7}:|{'-' * 12}:|------:|"
    total = Searched("**all**")
    for each in results:
        total.items, total.size = total.items + each.items, total.size + each.size
        total.found += each.found
    for each in (*results, total):
        yield f"| {each.place:<34} | {each.items:>6,} | {each.size:>11,} | {len(each.found):>5} |"
    for each in results:
        for name, needle in each.found[:_SHOWN]:
            yield f"FOUND in {each.place}, {name}: {needle!r}"


def main() -> None:
    """Carry the proof out and print it."""
    with running_system() as system:
        run_all(system)
        results = search(system, system.people.all)
        print(*report(system, results), sep="\n")
    if any(each.found for each in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
