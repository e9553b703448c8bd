"""Digests are equal for equal data, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.messages import ID_CARD, PERSON
from worker.core.digests import Digests
from worker.core.request import CheckType, Person, PersonField, VerificationRequest

DIGESTS = Digests(b"k" * 32)
OTHERS = Digests(b"K" * 32)
REQUEST = VerificationRequest(
    "onb-1",
    CheckType.ID_CARD_TWO_FACTOR,
    Person({PersonField.NAME: "张三", PersonField.ID_CARD: ID_CARD}),
    "default",
    None,
    None,
)


def with_fields(fields: dict[PersonField, str]) -> VerificationRequest:
    return replace(REQUEST, person=Person(fields))


def test_a_subject_is_found_by_its_number_and_the_key() -> None:
    assert DIGESTS.subject(ID_CARD) == Digests(b"k" * 32).subject(ID_CARD)
    assert len(DIGESTS.subject(ID_CARD)) == 32
    assert DIGESTS.subject(ID_CARD) != OTHERS.subject(ID_CARD)
    assert DIGESTS.subject(ID_CARD) != DIGESTS.subject(ID_CARD[:-1] + "0")
    assert DIGESTS.subject(ID_CARD) != sha256(ID_CARD.encode()).digest()


def test_the_key_is_not_shown() -> None:
    assert "kkk" not in repr(DIGESTS)


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, check_type=CheckType.MOBILE_THREE_FACTOR),
        with_fields({PersonField.NAME: "张四", PersonField.ID_CARD: ID_CARD}),
        with_fields({PersonField.NAME: "张三"}),
        # the same words in other fields
        with_fields({PersonField.NAME: ID_CARD, PersonField.ID_CARD: "张三"}),
        with_fields({PersonField.NAME: "张三", PersonField.BANKCARD: ID_CARD}),
        # a field that reads like two
        with_fields({PersonField.NAME: f"张三\nidCard={ID_CARD}"}),
    ],
)
def test_other_data_has_another_fingerprint(other: VerificationRequest) -> None:
    assert DIGESTS.request(other) != DIGESTS.request(REQUEST)


@pytest.mark.parametrize(
    "same",
    [
        replace(REQUEST, request_id="onb-2"),  # the row's key already
        # in another order
        with_fields({PersonField.ID_CARD: ID_CARD, PersonField.NAME: "张三"}),
    ],
)
def test_the_same_data_has_the_same_fingerprint(same: VerificationRequest) -> None:
    assert DIGESTS.request(same) == DIGESTS.request(REQUEST)


def test_a_fingerprint_depends_on_the_key() -> None:
    assert DIGESTS.request(REQUEST) != OTHERS.request(REQUEST)
    assert DIGESTS.body(b"{}") != OTHERS.body(b"{}")
    assert DIGESTS.body(b"{}") != sha256(b"{}").digest()


def test_a_subject_and_a_body_of_the_same_bytes_are_told_apart() -> None:
    assert DIGESTS.body(ID_CARD.encode()) != DIGESTS.subject(ID_CARD)


_PEOPLE = st.dictionaries(
    st.sampled_from(PersonField), st.text("张三·0123456789X=", min_size=1, max_size=20), max_size=5
)


@given(_PEOPLE, _PEOPLE)
def test_two_people_have_one_fingerprint_only_if_they_are_one(
    one: dict[PersonField, str], two: dict[PersonField, str]
) -> None:
    prints = DIGESTS.request(with_fields(one)), DIGESTS.request(with_fields(two))
    assert (prints[0] == prints[1]) is (one == two)


def test_every_check_type_reads_another_request() -> None:
    person = Person({field: PERSON[field] for field in PersonField})
    prints = {
        DIGESTS.request(replace(REQUEST, check_type=each, person=person)) for each in CheckType
    }
    assert len(prints) == len(CheckType)
