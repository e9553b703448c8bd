"""No ID number leaves by way of a property, whoever it belongs to."""

from __future__ import annotations

import pytest

from tests.fakes.messages import ID_CARD
from worker.contract.envelope import check_envelope
from worker.core.claims import Envelope
from worker.core.delivery import Delivery
from worker.core.outcome import FieldProblem


@pytest.mark.parametrize(
    "text", [ID_CARD, ID_CARD.lower(), f"to.{ID_CARD}.x", f"19{ID_CARD}", f"{ID_CARD}7"]
)
def test_a_property_with_an_id_number_is_not_used(text: str) -> None:
    delivery = Delivery(0, 1, b"{", correlation_id=text, reply_to=text)
    envelope, problems = check_envelope(delivery)
    assert envelope == Envelope()
    words = "must not contain the person's data"
    assert problems == [
        FieldProblem("properties.reply_to", words),
        FieldProblem("properties.correlation_id", words),
    ]


@pytest.mark.parametrize(
    "text", [ID_CARD[:-1] + "1", "202611271234567890", "0af7651916cd43dd8448eb211c80319c"]
)
def test_a_property_with_another_number_is_used(text: str) -> None:
    envelope, problems = check_envelope(Delivery(0, 1, b"{", correlation_id=text, reply_to=text))
    assert (envelope, problems) == (Envelope(text, text), [])
