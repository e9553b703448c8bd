"""The id of a request: which texts may be one, and which look like another one."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from worker.contract import leaks
from worker.contract.request_model import REQUEST_ID_LIMIT
from worker.core.outcome import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Sequence


def request_id_problem(value: object, numbers: Sequence[str]) -> str | None:
    """Return what is wrong with an id; an id without a problem is a `str`."""
    if value is None or value == "":
        return "is required, here or as the AMQP message_id"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > REQUEST_ID_LIMIT or not value.isprintable():
        return f"must have 1 to {REQUEST_ID_LIMIT} printable characters"
    return leaks.LEAK if leaks.holds(value, numbers) else None


def request_id_spelling(request_id: str) -> tuple[FieldProblem, ...]:
    """Return why an id looks like another one that the ledger would pay for as well."""
    blank = "has a blank at its beginning or end"
    found = [blank] if request_id != request_id.strip() else []
    if not unicodedata.is_normalized("NFC", request_id):
        found.append("is not in Unicode normal form C")
    return tuple(FieldProblem("requestId", problem) for problem in found)
