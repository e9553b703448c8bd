"""Digests are equal for equal data, and for nothing else."""

import hmac
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.messages import ID_CARD
from worker.core.digests import Digests, fits
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


def of(request: VerificationRequest, digests: Digests = DIGESTS) -> bytes:
    """Return a request's fingerprint under the current key."""
    return digests.of_request(request)[0].fingerprint


def subject(id_card: str, digests: Digests = DIGESTS) -> bytes:
    """Return a person's digest under the current key."""
    return digests.subjects(id_card)[0]


def test_a_subject_is_found_by_its_number_and_the_key() -> None:
    assert subject(ID_CARD) == subject(ID_CARD, Digests(b"k" * 32))
    assert len(subject(ID_CARD)) == 32
    assert subject(ID_CARD) != subject(ID_CARD, OTHERS)
    assert subject(ID_CARD) != subject(ID_CARD[:-1] + "0")
    assert subject(ID_CARD) != sha256(ID_CARD.encode()).digest()


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(REQUEST, request_id="onb-2"), True),  # the row's key already
        # in another order
        (with_fields({PersonField.ID_CARD: ID_CARD, PersonField.NAME: "张三"}), True),
        (replace(REQUEST, check_type=CheckType.MOBILE_THREE_FACTOR), False),
        (with_fields({PersonField.NAME: "张四", PersonField.ID_CARD: ID_CARD}), False),
        (with_fields({PersonField.NAME: "张三"}), False),
        # the same words in other fields
        (with_fields({PersonField.NAME: ID_CARD, PersonField.ID_CARD: "张三"}), False),
        (with_fields({PersonField.NAME: "张三", PersonField.BANKCARD: ID_CARD}), False),
        # a field that reads like two
        (with_fields({PersonField.NAME: f"张三\nidCard={ID_CARD}"}), False),
    ],
)
def test_the_same_data_and_no_other_has_the_same_fingerprint(
    other: VerificationRequest, same: bool
) -> None:
    assert (of(other) == of(REQUEST)) is same


def test_a_fingerprint_depends_on_the_key() -> None:
    assert of(REQUEST) != of(REQUEST, OTHERS)
    assert DIGESTS.of_body(b"{}") != OTHERS.of_body(b"{}")
    assert DIGESTS.of_body(b"{}")[0].fingerprint != sha256(b"{}").digest()


def test_a_subject_and_a_body_of_the_same_bytes_are_told_apart() -> None:
    assert DIGESTS.of_body(ID_CARD.encode())[0].fingerprint != subject(ID_CARD)


_PEOPLE = st.dictionaries(
    st.sampled_from(PersonField), st.text("张三·0123456789X=", min_size=1, max_size=20), max_size=5
)


@given(_PEOPLE, _PEOPLE)
def test_two_people_have_one_fingerprint_only_if_they_are_one(
    one: dict[PersonField, str], two: dict[PersonField, str]
) -> None:
    prints = of(with_fields(one)), of(with_fields(two))
    assert (prints[0] == prints[1]) is (one == two)


def test_a_request_has_a_digest_under_every_key_the_current_one_first() -> None:
    both = Digests(b"K" * 32, b"k" * 32)
    current, former = both.of_request(REQUEST)
    assert (current,) == OTHERS.of_request(REQUEST)
    assert (former,) == DIGESTS.of_request(REQUEST)
    assert both.subjects(ID_CARD) == [subject(ID_CARD, OTHERS), subject(ID_CARD)]
    assert subject(ID_CARD, both) == current.subject
    assert [each.key_id for each in both.of_body(b"{}")] == list(both.key_ids)


def test_a_key_has_an_id_of_its_own_that_does_not_show_it() -> None:
    (one,), (other,) = DIGESTS.key_ids, OTHERS.key_ids
    assert one != other
    assert len(one) == 8
    assert one not in sha256(b"k" * 32).hexdigest()
    assert one not in hmac.digest(b"k" * 32, b"key id", sha256).hex()


@pytest.mark.parametrize("stored", [DIGESTS, OTHERS])
def test_what_is_stored_under_any_known_key_fits(stored: Digests) -> None:
    known = Digests(b"K" * 32, b"k" * 32).of_request(REQUEST)
    (row,) = stored.of_request(REQUEST)
    assert fits(known, row.key_id, row.fingerprint) is True
    assert fits(known, None, row.fingerprint) is True
    assert fits(known, row.key_id, of(replace(REQUEST, person=Person({})), stored)) is False
    assert fits(known, row.key_id, b"") is False
    assert fits(known, None, b"") is False


def test_a_fingerprint_under_another_key_than_its_row_says_does_not_fit() -> None:
    known = Digests(b"K" * 32, b"k" * 32).of_request(REQUEST)
    assert fits(known, DIGESTS.key_ids[0], of(REQUEST, OTHERS)) is False


def test_what_is_stored_under_an_unknown_key_cannot_be_compared() -> None:
    (row,) = Digests(b"x" * 32).of_request(REQUEST)
    assert fits(DIGESTS.of_request(REQUEST), row.key_id, row.fingerprint) is None
