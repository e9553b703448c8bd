"""Values that hold personal data do not show it."""

from worker.core.delivery import Delivery, Publication
from worker.core.digests import Digests
from worker.core.request import CheckType, Person, PersonField, VerificationRequest

PERSON = Person(
    {
        PersonField.NAME: "欧阳测试",
        PersonField.ID_CARD: "11010519491231002X",
        PersonField.BANKCARD: "6222020200112230",
        PersonField.MOBILE: "13912345678",
        PersonField.PORTRAIT: "A" * 8000,
    }
)
VALUES = list(PERSON.fields.values())


def test_values_with_personal_data_do_not_show_it() -> None:
    request = VerificationRequest("r", CheckType.ID_CARD_TWO_FACTOR, PERSON, "s", None, None)
    body = str(PERSON.fields).encode()
    shown = repr((request, Delivery(1, 1, body), Publication("", "q", body), Digests(b"key" * 16)))
    assert not any(value in shown for value in [*VALUES, "keykey"])
