"""Which fields go with which check type."""

from __future__ import annotations

import pytest

from worker.core.request import CheckType, PersonField, PortraitFields, field_matrix

NAME, ID, CARD, MOBILE, IMAGE = PersonField


@pytest.mark.parametrize("portrait", list(PortraitFields))
@pytest.mark.parametrize(
    ("check_type", "fields"),
    [
        (0, {NAME, ID, CARD, MOBILE}),
        (1, {NAME, ID, CARD}),
        (2, {NAME, ID}),
        (4, {NAME, ID, MOBILE}),
    ],
)
def test_a_check_type_has_its_fields(
    check_type: int, fields: set[PersonField], portrait: PortraitFields
) -> None:
    assert set(field_matrix(portrait)[CheckType(check_type)]) == fields


@pytest.mark.parametrize(
    ("portrait", "fields"),
    [
        (PortraitFields.ID_CARD, {NAME, ID, IMAGE}),  # JD's SDK since 2023-11
        (PortraitFields.BANK_CARD, {NAME, CARD, IMAGE}),  # JD's document
    ],
)
def test_a_portrait_goes_with_the_number_that_the_setting_names(
    portrait: PortraitFields, fields: set[PersonField]
) -> None:
    assert set(field_matrix(portrait)[CheckType.PORTRAIT_THREE_FACTOR]) == fields
