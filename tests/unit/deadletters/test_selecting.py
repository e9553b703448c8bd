"""A dead letter is of a person if the number stands in it, in whatever form it was sent."""

import json
from typing import Any

import pytest

from tests.fakes.messages import ID_CARD, request, spec
from worker.deadletters.body import holds

OTHER = "110105199003070011"


def body(id_card: str, *, ascii_only: bool = False, **more: Any) -> bytes:
    """Return a request about a person as JSON."""
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
    "in truncated JSON": body(ID_CARD)[:-10],
    "not in JSON": f"name=...;id={ID_CARD}".encode(),
    "not in JSON, with blanks": f"{ID_CARD[:6]} {ID_CARD[6:14]} {ID_CARD[14:]}".encode(),
    "beside bytes that are no UTF-8": b"\xff\xfe" + body(ID_CARD),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_number_is_found(form: str) -> None:
    assert holds(FORMS[form], [OTHER[::-1], ID_CARD])


@pytest.mark.parametrize(
    "another", [body(OTHER), b"", b"{}", b"null", b"[" * 50_000, ID_CARD[:-1].encode()]
)
def test_another_persons_letter_is_left_alone(another: bytes) -> None:
    assert not holds(another, [ID_CARD])
