"""The person that a request asks about: the body, checked against the document's table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from worker.sandbox.refusal import Refused, invalid_argument

# Row 3 was sold in two readings: bank card until 2023-11, ID card since (see provider/README.md).
_ROWS: Mapping[int, tuple[frozenset[str], ...]] = {
    0: (frozenset({"name", "idCard", "bankcard", "mobile"}),),
    1: (frozenset({"name", "idCard", "bankcard"}),),
    2: (frozenset({"name", "idCard"}),),
    3: (
        frozenset({"name", "idCard", "imgBase64"}),
        frozenset({"name", "bankcard", "imgBase64"}),
    ),
    4: (frozenset({"name", "idCard", "mobile"}),),
}


@dataclass(frozen=True, slots=True)
class Person:
    """One `personalUser`. Its fields have no `repr`."""

    fields: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """The name, as sent."""
        return self.fields["name"]

    @property
    def number(self) -> str:
        """What behaviours and counts are keyed on: the ID number, or else the bank card's."""
        return self.fields.get("idCard") or self.fields["bankcard"]


def read_person(body: bytes) -> Person:
    """Return the person of a request body; raise `Refused` (400) where it is not one table row."""
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Not chained: the decoder's error keeps the whole document.
        raise invalid_argument("the body is not JSON") from None
    spec = _object(document, frozenset({"personalSpec"}), "the body")["personalSpec"]
    spec = _object(spec, frozenset({"checkType", "personalUser"}), "personalSpec")
    check_type, user = spec["checkType"], spec["personalUser"]
    if not isinstance(check_type, int) or isinstance(check_type, bool) or check_type not in _ROWS:
        raise invalid_argument("checkType must be an integer from 0 to 4")
    if not isinstance(user, dict) or user.keys() not in _ROWS[check_type]:
        raise invalid_argument(f"personalUser must have exactly the fields of check {check_type}")
    if not all(isinstance(value, str) and value for value in user.values()):
        raise invalid_argument("personalUser's fields must be strings that are not empty")
    return Person(user)


def _object(value: object, fields: frozenset[str], name: str) -> dict[str, object]:
    if not isinstance(value, dict) or value.keys() != fields:
        raise _expected(name, fields)
    return value


def _expected(name: str, fields: frozenset[str]) -> Refused:
    return invalid_argument(f"{name} must be an object of exactly {', '.join(sorted(fields))}")
