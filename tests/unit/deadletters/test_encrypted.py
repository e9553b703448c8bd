"""Encrypted dead letters: read with a key, and without one known by their properties alone."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

from tests.fakes.keys import encrypted, message_keys
from tests.fakes.messages import ID_CARD, MOBILE, NAME, deliver, request
from worker.core.delivery import Letter
from worker.deadletters.choosing import Filters
from worker.deadletters.masking import masked_body
from worker.deadletters.reading import Encrypted, LetterReader

if TYPE_CHECKING:
    from typing import Any

    from worker.contract.encryption import MessageKeys

TODAY = date(2026, 11, 27)
BODY = json.dumps(request("onb-7", source="web"), ensure_ascii=False).encode()


def letter(body: bytes, **properties: Any) -> Letter:
    return Letter(deliver(body, **properties), {"reason": "undecryptable", "attempts": 0})


def shown(one: Letter, keys: MessageKeys | None) -> str:
    """Return all that a person sees of a letter."""
    reader = LetterReader(TODAY, keys)
    known = reader.read(one)
    return f"{known}{masked_body(reader.open(one)[0], known, TODAY)}"


def test_with_its_key_a_letter_is_known_and_masked_like_any_other() -> None:
    one = letter(encrypted(BODY), message_id="m-1")
    reader = LetterReader(TODAY, message_keys())
    known = reader.read(one)
    assert (known.request_id, known.source) == ("onb-7", "web")
    assert known.encrypted is Encrypted.OPENED
    assert known.size == len(one.delivery.body)
    assert Filters(name="onb-7", source="web").match(known)
    assert '"idCard": "1****************X"' in json.dumps(
        masked_body(reader.open(one)[0], known, TODAY)
    )
    assert NAME not in shown(one, message_keys())
    assert ID_CARD not in shown(one, message_keys())


def test_without_its_key_only_the_properties_are_known() -> None:
    one = letter(encrypted(BODY), message_id="m-1")
    for keys in (None, message_keys("another")):
        reader = LetterReader(TODAY, keys)
        known = reader.read(one)
        assert (known.request_id, known.message_id, known.source) == (None, "m-1", None)
        assert known.encrypted is Encrypted.CLOSED
        assert known.reason == "undecryptable"
        assert Filters(name="m-1").match(known)
        size = len(one.delivery.body)
        assert masked_body(reader.open(one)[0], known, TODAY) == f"<encrypted, {size} bytes>"


def test_a_property_that_repeats_the_encrypted_person_is_withheld() -> None:
    for text in (NAME, ID_CARD, MOBILE):
        one = letter(encrypted(BODY), message_id=text, correlation_id=text, reply_to=text)
        for keys in (None, message_keys()):
            assert text not in shown(one, keys)


def test_the_mark_of_a_letter_does_not_depend_on_who_can_read_it() -> None:
    one = letter(encrypted(BODY))
    marks = {LetterReader(TODAY, keys).read(one).mark for keys in (None, message_keys())}
    assert len(marks) == 1


def test_a_raw_letter_is_none_of_the_two() -> None:
    for body in (BODY, b"{"):
        assert LetterReader(TODAY, message_keys()).read(letter(body)).encrypted is Encrypted.NO
