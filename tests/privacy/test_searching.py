"""A search that cannot find proves nothing: every spelling is planted, and every one is found."""

from __future__ import annotations

import random

import pytest

from tests.privacy.canaries import Aviary, wrong_check_digit
from tests.privacy.searching import SHORTEST, Search
from worker.core.checks import CheckPolicy, FieldRefused, IdCardCheck, check_field, check_id_card
from worker.core.request import PersonField
from worker.telemetry.clock import SystemClock

TODAY = SystemClock().now().date()


def some_people(how_many: int = 4) -> Aviary:
    aviary = Aviary()
    for number in range(how_many):
        aviary.hatch(f"person-{number}")
    return aviary


@pytest.mark.parametrize("shift", range(4))
def test_every_spelling_is_found_wherever_it_stands(shift: int) -> None:
    search = Search(some_people().canaries)
    missed = [
        needle
        for needle in search.needles
        if needle not in search.found_in(b"~" * (9 + shift) + needle.content + b"~~")
    ]
    assert missed == []


def test_a_piece_of_a_spelling_is_none() -> None:
    search = Search(some_people(1).canaries)
    whole = {needle.content for needle in search.needles}
    for needle in search.needles:
        cut = needle.content[: SHORTEST - 1]
        assert not [each for each in search.found_in(cut) if each.content in whole]


def test_nothing_is_found_in_noise() -> None:
    search = Search(some_people(250).canaries)
    noise = random.Random(7)
    assert search.found_in(noise.randbytes(500_000)) == set()
    assert search.found_in("".join(noise.choices("0123456789", k=500_000)).encode()) == set()
    assert search.found_in("".join(noise.choices("0123456789abcdef", k=500_000)).encode()) == set()


def test_people_are_the_same_at_every_run_and_share_no_value() -> None:
    people, again = some_people(250).canaries, some_people(250).canaries
    assert people == again
    values = [
        value
        for each in people
        for value in (each.name, each.id_card, each.bankcard, each.mobile, each.portrait)
    ]
    assert len({*values}) == len(values)
    characters = [character for each in people for character in each.name]
    assert len({*characters}) == len(characters)


def test_people_pass_the_workers_own_checks_and_their_twins_do_not() -> None:
    for each in some_people(60).canaries:
        values = {
            PersonField.NAME: each.name,
            PersonField.ID_CARD: each.id_card,
            PersonField.BANKCARD: each.bankcard,
            PersonField.MOBILE: each.mobile,
            PersonField.PORTRAIT: each.image,
        }
        for field, value in values.items():
            assert check_field(field, value, CheckPolicy(), TODAY) == value
        with pytest.raises(FieldRefused):
            check_id_card(wrong_check_digit(each.id_card), IdCardCheck.STRICT, TODAY)


def test_what_is_found_is_named_and_never_shown() -> None:
    (person,) = some_people(1).canaries
    found = Search([person]).found_in(f"{person.name} {person.id_card}".encode())
    shown = repr(found) + repr(person)
    assert "<idCard of person-0: whole, UTF-8>" in shown
    assert Search([person]).found_in(shown.encode()) == set()
