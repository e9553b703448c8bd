"""A search that cannot find proves nothing: every spelling is planted, and every one is found."""

from __future__ import annotations

import random

import pytest

from tests.privacy.canaries import Canary, People
from tests.privacy.search import Search
from worker.telemetry.clock import SystemClock

TODAY = SystemClock().now().date()


def some_people(how_many: int) -> list[Canary]:
    return People().invent_many("person", how_many)


@pytest.mark.parametrize("shift", range(4))
def test_every_spelling_is_found_wherever_it_stands(shift: int) -> None:
    search = Search(some_people(4))
    planted = [(needle, b"~" * (9 + shift) + needle.content + b"~~") for needle in search.needles]
    assert [needle for needle, hay in planted if needle not in search.found_in(hay)] == []


def test_nothing_is_found_in_noise() -> None:
    search, noise = Search(some_people(250)), random.Random(7)
    assert search.found_in(noise.randbytes(200_000)) == set()
    for alphabet in ("0123456789", "0123456789abcdef"):
        assert search.found_in("".join(noise.choices(alphabet, k=200_000)).encode()) == set()


def test_people_are_the_same_at_every_run_and_share_no_value() -> None:
    people = some_people(250)
    assert people == some_people(250)
    values = [x for p in people for x in (p.name, p.id_card, p.bankcard, p.mobile, p.portrait)]
    assert len({*values}) == len(values)
    characters = [character for each in people for character in each.name]
    assert len({*characters}) == len(characters)


def test_what_is_found_is_named_and_never_shown() -> None:
    (person,) = some_people(1)
    found = Search([person]).found_in(f"{person.name} {person.id_card}".encode())
    shown = repr(found) + repr(person)
    assert "<idCard of person-0: date of birth and serial, UTF-8>" in shown
    assert Search([person]).found_in(shown.encode()) == set()
