"""Where settings come from: the environment, and files that hold secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

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
        validate_default=True,  # a default may not fit what is set beside it
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, and the files that `X_FILE` variables name."""
        return init_settings, env_settings, _SecretFiles(settings_cls)


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting must never be shown and may come from a file."""
    return "SecretStr" in str(field.annotation)


class _SecretFiles(PydanticBaseSettingsSource):
    def path_of(self, field: FieldInfo, field_name: str) -> str | None:
        """Return the file that is named for a secret; an empty name is none."""
        return os.environ.get(f"{field_name.upper()}_FILE") or None if is_secret(field) else None

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if not (path := self.path_of(field, field_name)):
            return None, field_name, False
        # Editors of other systems put a byte-order mark before it.
        text = Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
        return text or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, _, _ = self.get_field_value(field, name)
            except (OSError, UnicodeDecodeError):
                continue  # `_unreadable_files` names it
            if value is not None:
                values[name] = value
        return values


def _unreadable_files(kind: type[BaseSettings]) -> dict[str, str]:
    """Return a problem for each secret whose file is named and cannot be read."""
    problems = {}
    source = _SecretFiles(kind)
    for name, field in kind.model_fields.items():
        try:
            value, _, _ = source.get_field_value(field, name)
        except (OSError, UnicodeDecodeError) as error:
            variable = f"{name.upper()}_FILE"
            problems[name.upper()] = f"{variable}: cannot be read ({type(error).__name__})"
        else:
            if value is None and field.is_required() and source.path_of(field, name):
                problems[name.upper()] = f"{name.upper()}_FILE: is empty"
    return problems


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(kind: type[AnySettings]) -> AnySettings:
    """Read the settings; raise `SettingsInvalid` with every problem there is."""
    files = _unreadable_files(kind)
    problems = list(files.values())
    try:
        settings = kind()
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
