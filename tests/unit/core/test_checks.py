"""Checks before paying: what passes, what is refused, and that no problem quotes its value."""

from base64 import b64encode
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.checks import (
    PROVINCES,
    CheckPolicy,
    FieldRefused,
    IdCardCheck,
    LuhnCheck,
    check_bankcard,
    check_field,
    check_id_card,
    check_mobile,
    check_name,
    check_portrait,
    id_card_check_digit,
    passes_luhn,
)
from worker.core.request import PersonField

TODAY = date(2026, 11, 24)
POLICY = CheckPolicy()


def strict(number: str) -> str:
    return check_id_card(number, IdCardCheck.STRICT, TODAY)


def with_check_digit(first: str) -> str:
    return first + id_card_check_digit(first)


@pytest.mark.parametrize(
    ("number", "normal"),
    [
        ("11010519491231002X", "11010519491231002X"),
        (" 11010519491231002x\n", "11010519491231002X"),
        # A resident of Hong Kong, and a foreigner with a permanent residence.
        (with_check_digit("81000019900101001"), with_check_digit("81000019900101001")),
        (with_check_digit("92315619900101001"), with_check_digit("92315619900101001")),
    ],
)
def test_a_good_id_number_passes(number: str, normal: str) -> None:
    assert strict(number) == normal


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("110105491231002", "first generation"),
        ("110105194912310021", "check digit"),
        ("1101051949123100", "17 digits"),
        (with_check_digit("16010519491231002"), "province"),
        (with_check_digit("81010519491231002"), "region"),
        (with_check_digit("11010519490231002"), "real date"),
        (with_check_digit("11010518991231002"), "cannot be"),
        (with_check_digit("11010520261125002"), "cannot be"),
        ("", "17 digits"),
    ],
)
def test_a_bad_id_number_is_refused_with_its_reason(number: str, problem: str) -> None:
    with pytest.raises(FieldRefused, match=problem):
        strict(number)


@given(
    st.sampled_from(sorted(PROVINCES - {"81", "82", "83"})),
    st.integers(0, 9999),
    st.dates(date(1900, 1, 1), TODAY),
    st.integers(0, 999),
    st.integers(0, 16),
)
def test_any_number_with_its_check_digit_passes_and_no_other_digit_does(
    province: str, county: int, born: date, sequence: int, place: int
) -> None:
    number = with_check_digit(f"{province}{county:04}{born:%Y%m%d}{sequence:03}")
    assert strict(number) == number
    other = str((int(number[place]) + 1) % 10)
    with pytest.raises(FieldRefused):
        strict(number[:place] + other + number[place + 1 :])


def test_looser_checks_take_what_the_strict_one_refuses() -> None:
    assert check_id_card("110105194912310021", IdCardCheck.FORMAT, TODAY)
    assert check_id_card("abc123", IdCardCheck.OFF, TODAY) == "ABC123"


@pytest.mark.parametrize("text", ["张", "张" * 51, "Zhang San", "张3", "张\n三", "张 三", "··", ""])
def test_a_bad_name_is_refused(text: str) -> None:
    with pytest.raises(FieldRefused):
        check_name(text)


def test_a_bank_card_loses_its_spaces_and_obeys_luhn_where_that_is_asked_for() -> None:
    assert check_bankcard("6222-0202 0011 2230", LuhnCheck.REJECT) == "6222020200112230"
    assert check_bankcard("6222020200112231", LuhnCheck.WARN) == "6222020200112231"
    assert not passes_luhn("6222020200112231")
    for bad in ("6222020200112231", "62220202", "6" * 20):
        with pytest.raises(FieldRefused):
            check_bankcard(bad, LuhnCheck.REJECT)


def test_a_mobile_number_loses_its_country_code() -> None:
    for good in ("13912345678", "+86 139 1234 5678", "008613912345678"):
        assert check_mobile(good) == "13912345678"
    for bad in ("12345678901", "1391234567", "+85 13912345678"):
        with pytest.raises(FieldRefused):
            check_mobile(bad)


JPEG = b"\xff\xd8\xff" + b"\0" * 6_000


def test_a_portrait_is_an_image_of_a_sensible_size() -> None:
    encoded = b64encode(JPEG).decode()
    assert check_portrait(encoded, POLICY) == encoded
    assert check_portrait(f"data:image/jpeg;base64,{encoded}", POLICY) == encoded
    bad = [b"GIF89a" + JPEG, JPEG[:100], JPEG + b"\0" * 150_000]
    for text in ["?" * 8000, *(b64encode(image).decode() for image in bad)]:
        with pytest.raises(FieldRefused):
            check_portrait(text, POLICY)


@given(st.sampled_from(list(PersonField)), st.text(min_size=8))
def test_no_text_breaks_a_check_and_no_problem_quotes_it(field: PersonField, text: str) -> None:
    refusal = refused(field, text)
    assert refusal is None or text not in refusal


def refused(field: PersonField, text: str) -> str | None:
    """Return the problem of a text, if it has one."""
    try:
        check_field(field, text, POLICY, TODAY)
    except FieldRefused as refusal:
        return str(refusal)
    return None
