"""Where settings come from: the environment, and files that hold secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.settings.misspelt import misspelt
from worker.settings.words import words_for

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Return the secrets that stand in files, and a problem for each file of no use."""
    values: dict[str, Any] = {}
    problems = {}
    in_environment = {name.upper() for name, value in os.environ.items() if value}
    for name, field in kind.model_fields.items():
        secret, variable = name.upper(), f"{name.upper()}_FILE"
        if not is_secret(field) or not (path := os.environ.get(variable)):
            continue
        if secret in in_environment:
            problems[secret] = f"{secret}: is set, and {variable} too: remove one of them"
            continue
        try:
            # Editors of other systems put a byte-order mark before it.
            text = Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            problems[secret] = f"{variable}: cannot be read ({type(error).__name__})"
            continue
        if not text and field.is_required():
            problems[secret] = f"{variable}: is empty"
        elif text:
            values[name] = text
    return values, problems


def _variables(kind: type[BaseSettings]) -> Iterator[str]:
    """Yield the names of all variables that are read for these settings."""
    for name, field in kind.model_fields.items():
        yield name.upper()
        if is_secret(field):
            yield f"{name.upper()}_FILE"


def _all_kinds(kind: type[BaseSettings] = FromEnvironment) -> Iterator[type[BaseSettings]]:
    """Yield the settings of every command."""
    yield kind
    for each in kind.__subclasses__():
        yield from _all_kinds(each)


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(kind: type[AnySettings]) -> AnySettings:
    """Read the settings; raise `SettingsInvalid` with every problem there is."""
    known = {name for each in _all_kinds() for name in _variables(each)}
    problems = [
        f"{name}: is no setting: rename it to {setting}, or remove it"
        for name, setting in misspelt(os.environ, _variables(kind), known)
    ]
    secrets, files = _secrets_in_files(kind)
    problems += files.values()
    try:
        settings = kind(**secrets)
    except ValidationError as error:
        named = ((str(detail["loc"][0]).upper(), detail) for detail in error.errors())
        # A secret whose file cannot be read is missing for that reason alone.
        problems += [
            f"{name}: {words}"
            for name, detail in named
            if name not in files
            for words in words_for(detail)
        ]
    if problems:
        raise SettingsInvalid(problems)
    return settings
