"""What is wrong with a setting or an option, in our words instead of the library's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_CHOICE = "must be {expected}"

# By pydantic's names of errors (docs.pydantic.dev, "Validation Errors").
_WORDS = {
    "enum": _CHOICE,
    "float_parsing": "must be a number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "literal_error": _CHOICE,
    "missing": "is required",
    "too_short": "must have at least {min_length} characters",
}


def words_for(detail: ErrorDetails) -> list[str]:
    """Return what is wrong with one value, and not the value; a check of ours may find several."""
    if detail["type"] == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ").splitlines()
    facts: Mapping[str, object] = detail.get("ctx", {})
    words = _WORDS.get(detail["type"], "is not written as it must be").format(**facts)
    return [words.replace("'", "")]
