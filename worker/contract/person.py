"""The person of a request: the fields that its check type needs, and what is wrong with any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.core.checks import FieldRefused, LuhnCheck, check_field, passes_luhn
from worker.core.outcome import FieldProblem
from worker.core.request import CheckType, PersonField, field_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from worker.contract.request_model import PersonalSpecV1
    from worker.core.checks import CheckPolicy
    from worker.core.request import Person


def read_person(
    spec: PersonalSpecV1, policy: CheckPolicy, today: date
) -> tuple[Mapping[PersonField, str], list[FieldProblem]]:
    """Return the fields that the check type needs, normalised, and every problem."""
    needed = field_matrix(policy.portrait_fields)[CheckType(spec.checkType)]
    fields: dict[PersonField, str] = {}
    problems = []
    for each in PersonField:
        text: str | None = getattr(spec.personalUser, each)
        if text is None:
            if each in needed:
                problems.append(_problem(each, f"is required for checkType {spec.checkType}"))
        elif each in needed:
            try:
                fields[each] = check_field(each, text, policy, today)
            except FieldRefused as refusal:
                problems.append(_problem(each, str(refusal)))
        else:
            problems.append(_problem(each, f"must not be sent for checkType {spec.checkType}"))
    return fields, problems


def warnings_of(person: Person, policy: CheckPolicy) -> tuple[FieldProblem, ...]:
    """Return what is odd about a person and refuses nothing."""
    card = person.fields.get(PersonField.BANKCARD)
    if card is None or policy.luhn is not LuhnCheck.WARN or passes_luhn(card):
        return ()
    return (_problem(PersonField.BANKCARD, "check digit does not match"),)


def _problem(field: PersonField, problem: str) -> FieldProblem:
    return FieldProblem(f"personalSpec.personalUser.{field}", problem)
