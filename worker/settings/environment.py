"""Where settings come from: the environment, and files that hold secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo


class SettingsInvalid(Exception):
    """Some settings are missing or wrong; `problems` names each with what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class FromEnvironment(BaseSettings):
    """Settings whose names in upper case are the variables' names; an empty one is not set."""

    model_config = SettingsConfigDict(
        case_sensitive=False,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,  # what `check-config` says of a setting
        validate_default=True,  # a default may not fit what is set beside it
    )


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting must never be shown and may come from a file."""
    return "SecretStr" in str(field.annotation)


def _secrets_in_files(kind: type[BaseSettings]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the secrets that stand in files alone, and a problem for each file of no use."""
    values: dict[str, Any] = {}
    problems = {}
    in_environment = {name.upper() for name, value in os.environ.items() if value}
    for name, field in kind.model_fields.items():
        secret, variable = name.upper(), f"{name.upper()}_FILE"
        if not is_secret(field) or not (path := os.environ.get(variable)):
            continue
        try:
            # Editors of other systems put a byte-order mark before it.
            text = Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            problems[secret] = f"{variable}: cannot be read ({type(error).__name__})"
            continue
        if not text and field.is_required():
            problems[secret] = f"{variable}: is empty"
        elif text and secret not in in_environment:
            values[name] = text
    return values, problems


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(kind: type[AnySettings]) -> AnySettings:
    """Read the settings; raise `SettingsInvalid` with every problem there is."""
    secrets, files = _secrets_in_files(kind)
    problems = list(files.values())
    try:
        settings = kind(**secrets)
    except ValidationError as error:
        # A secret whose file cannot be read is missing for that reason alone.
        problems += [
            problem
            for detail in error.errors()
            for problem in _problems(detail)
            if problem.partition(":")[0] not in files
        ]
    if problems:
        raise SettingsInvalid(problems)
    return settings


def _problems(detail: Mapping[str, Any]) -> list[str]:
    """Return a line for each problem of one setting; a check may have found several."""
    name = str(detail["loc"][0]).upper()
    if detail["type"] == "missing":
        return [f"{name}: is required"]
    problems = str(detail["msg"]).removeprefix("Value error, ").splitlines()
    return [f"{name}: {problem}" for problem in problems]
