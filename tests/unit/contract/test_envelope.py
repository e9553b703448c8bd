"""Of a message that names no person nothing leaves that could be anybody's ID number."""

import json
from datetime import date
from typing import Any

import pytest

from tests.fakes.messages import ID_CARD, deliver, request, spec
from worker.contract.envelope import check_envelope
from worker.contract.leaks import of_nobody
from worker.contract.request_v1 import Reading, Refused, RequestReader, Unreadable
from worker.core.checks import CheckPolicy
from worker.core.claims import Envelope

READER = RequestReader(CheckPolicy(), 100_000)
WITH_ID = [ID_CARD, ID_CARD.lower(), f"to.{ID_CARD}.x", f"19{ID_CARD}", f"{ID_CARD}7"]
WITHOUT = [ID_CARD[:-1] + "1", "202611271234567890", "0af7651916cd43dd8448eb211c80319c"]


def read(body: bytes | dict[str, Any], **properties: str) -> Reading:
    return READER.read(deliver(body, **properties), date(2026, 11, 27))


@pytest.mark.parametrize("text", [*WITH_ID, *WITHOUT])
def test_of_what_cannot_be_read_no_id_number_is_repeated(text: str) -> None:
    reading = read(b"{", correlation_id=text, reply_to=text)
    assert isinstance(reading, Unreadable)
    kept = Envelope() if text in WITH_ID else Envelope(text, text)
    assert reading.envelope == of_nobody(reading.envelope) == kept


@pytest.mark.parametrize("text", [*WITH_ID, *WITHOUT])
def test_long_numbers_of_a_readable_request_are_nobodys_business_but_its_persons(text: str) -> None:
    delivery = deliver(request(), correlation_id=text, reply_to=text)
    assert check_envelope(delivery) == (Envelope(text, text), [])


@pytest.mark.parametrize("text", WITH_ID)
def test_an_id_number_is_no_request_id_where_the_message_names_no_person(text: str) -> None:
    reading = read({"requestId": text})
    assert isinstance(reading, Unreadable)
    assert (reading.reason, reading.problem.field) == ("no_usable_id", "requestId")


def test_nor_is_it_a_source_or_repeated_of_a_message_that_is_refused() -> None:
    message = {"requestId": "onb-1", "source": f"web-{ID_CARD.lower()}"}
    reading = read(json.dumps(message).encode(), correlation_id=ID_CARD, reply_to="to.me")
    assert isinstance(reading, Refused)
    assert (reading.source, reading.envelope) == ("default", Envelope("to.me"))


@pytest.mark.parametrize("written", ["138 0013 8000", "138-0013-8000", "１３８００１３８０００"])
def test_a_number_in_groups_or_wide_digits_is_found_where_none_may_stand(written: str) -> None:
    message = request(personalSpec=spec(4), context={"m": written})
    reading = read(message)
    assert isinstance(reading, Refused)
    assert "context" in {problem.field for problem in reading.problems}
    assert isinstance(read({**message, "context": {}, "requestId": f"onb {written}"}), Unreadable)
