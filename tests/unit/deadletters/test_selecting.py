"""A dead letter is of a person if the number stands in it, in whatever form it was sent."""

import gzip
import json
import zlib
from datetime import date
from typing import Any

import pytest

from tests.fakes.messages import ID_CARD, deliver, request, spec
from worker.core.delivery import Letter
from worker.deadletters.body import MOST_READ, holds
from worker.deadletters.reading import LetterReader

OTHER = "110105199003070011"


def body(id_card: str, *, ascii_only: bool = False, **more: Any) -> bytes:
    message = request(personalSpec=spec(idCard=id_card), **more)
    return json.dumps(message, ensure_ascii=ascii_only).encode()


FULL_WIDTH = "".join(chr(ord(each) + 0xFEE0) for each in ID_CARD)
FORMS = {
    "as it is": body(ID_CARD),
    "in lower case": body(ID_CARD.lower()),
    "with blanks": body(f"{ID_CARD[:6]} {ID_CARD[6:14]} {ID_CARD[14:]}"),
    "with hyphens": body("-".join(ID_CARD)),
    "in full-width digits": body(FULL_WIDTH),
    "in full-width digits, escaped": body(FULL_WIDTH, ascii_only=True),
    "escaped digit by digit": body("#").replace(
        b"#", "".join(f"\\u{ord(each):04x}" for each in ID_CARD).encode()
    ),
    "in the wrong field": json.dumps({"personalSpec": {"id": {"card": [ID_CARD]}}}).encode(),
    "in a context": body(OTHER, context={"note": f"see {ID_CARD}."}),
    "in a context, escaped": body(OTHER, context={FULL_WIDTH: FULL_WIDTH}, ascii_only=True),
    "in truncated JSON": body(ID_CARD)[:-10],
    "not in JSON": f"name=...;id={ID_CARD}".encode(),
    "not in JSON, with blanks": f"{ID_CARD[:6]} {ID_CARD[6:14]} {ID_CARD[14:]}".encode(),
    "beside bytes that are no UTF-8": b"\xff\xfe" + body(ID_CARD),
    "in UTF-16": body(ID_CARD).decode().encode("utf-16"),
    "in UTF-32": body(ID_CARD).decode().encode("utf-32-be"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_number_is_found(form: str) -> None:
    assert holds(FORMS[form], [OTHER[::-1], ID_CARD])


# How it is packed, and what its publisher says of that.
PACKED: dict[str, tuple[bytes, str | None]] = {
    "and nobody says so": (gzip.compress(body(ID_CARD)), None),
    "and said to be text": (zlib.compress(body(ID_CARD)), "utf-8"),
    "and torn": (gzip.compress(body(ID_CARD))[:-12], "gzip"),
    "twice": (gzip.compress(gzip.compress(body(ID_CARD))), "gzip"),
    "and too large to be read": (gzip.compress(body(ID_CARD) + b" " * MOST_READ), "gzip"),
    "as it should be": (zlib.compress(body(ID_CARD))[2:-4], "deflate"),
}


@pytest.mark.parametrize("packed", PACKED)
def test_the_number_is_found_in_a_body_that_is_packed(packed: str) -> None:
    told, encoding = PACKED[packed]
    letter = Letter(deliver(told, content_encoding=encoding), {})
    forms = LetterReader(date(2026, 11, 28)).forms(letter)
    assert any(holds(each, [ID_CARD]) for each, _ in forms)


def test_a_letter_that_grows_without_end_is_searched_to_a_limit() -> None:
    grown = gzip.compress(bytes(64 * MOST_READ))
    forms = LetterReader(date(2026, 11, 28)).forms(Letter(deliver(grown), {}))
    assert [len(each) for each, _ in forms] == [len(grown), 16 * MOST_READ]


@pytest.mark.parametrize(
    "another", [body(OTHER), b"", b"{}", b"null", b"[" * 50_000, ID_CARD[:-1].encode()]
)
def test_another_persons_letter_is_left_alone(another: bytes) -> None:
    assert not holds(another, [ID_CARD])
