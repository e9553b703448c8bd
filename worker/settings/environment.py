"""Where settings come from: the environment, and files that hold secrets; and what is wrong there.

Also variables that are meant as a setting of ours and are none: `AMQPURL`, `PREFETCHH`. Nobody
would notice them: the setting keeps its default, and the limit that somebody wrote down does not
hold.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.settings.values import delay_name


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


# What Kubernetes gives to each container of a namespace for each of its services, and Docker for a
# link: a service may be named `amqp`, `http` or `database`. `X_PORT` is told by its value.
_OF_A_SERVICE = re.compile(r".+_SERVICE_(HOST|PORT(_.+)?)|.+_PORT_\d+_(TCP|UDP|SCTP)(_.+)?")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")

# Names that programs of others commonly have, a letter or two from ours.
_OF_OTHERS = {"AMQP_URI", "DATABASE_POOL", "DATABASE_URI", "HTTPS_HOST", "HTTPS_PORT"}

# Of two names that begin alike, without underscores: PROVIDER_CALLS_PER_MIN is 0.93 of
# PROVIDER_CALLS_PER_MINUTE, DATABASE_USER 0.87 of DATABASE_URL.
_ALIKE = 0.92
_BEGINNING = 2


def is_service_address(value: object) -> bool:
    """Return whether this is what Kubernetes sets `X_PORT` to: `tcp://10.0.0.1:80`."""
    return isinstance(value, str) and _SERVICE_ADDRESS.match(value) is not None


def misspelt(
    environment: Mapping[str, str], settings: Iterable[str], known: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield each variable that is a near miss of one of the settings, with that setting's name.

    Those that are `known` mean what they say, and an empty variable is not set. In a near miss one
    letter is missing, too many, wrong or elsewhere, an underscore is or is not there, or the
    names begin alike and hardly differ at all.
    """
    bare = {_bare(name): name for name in settings}
    shortened = {short: name for each, name in bare.items() for short in _shortened(each)}
    meant = _OF_OTHERS.union(known)
    for name, value in environment.items():
        is_ours = name.upper() in meant or _OF_A_SERVICE.fullmatch(name.upper())
        if not value or is_ours or is_service_address(value):
            continue
        tried = _bare(name)
        near = next((shortened[each] for each in _shortened(tried) if each in shortened), None)
        if near is None:
            alike = [each for each in bare if each[:_BEGINNING] == tried[:_BEGINNING]]
            near = next((bare[each] for each in get_close_matches(tried, alike, 1, _ALIKE)), None)
        if near is not None:
            yield name, near


def _bare(name: str) -> str:
    return name.upper().replace("_", "")


def _shortened(word: str) -> list[str]:
    """Return a word and what is left of it without any one of its letters.

    Two words that have one of these in common are one letter apart.
    """
    return [word, *(word[:place] + word[place + 1 :] for place in range(len(word)))]


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


_DURATIONS = ("reuse_results_for", "give_up_after")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting's variable, its value as it is written, and what it means."""

    name: str
    value: str | None
    """None: not set, and without a default."""
    is_default: bool
    meaning: str


def show(settings: FromEnvironment) -> list[ShownSetting]:
    """Return all settings, secrets hidden."""
    return [
        ShownSetting(
            name.upper(),
            value := _value(settings, name, hidden=is_secret(field)),
            value is not None and name not in settings.model_fields_set,
            field.description or "",
        )
        for name, field in type(settings).model_fields.items()
    ]


def _value(settings: FromEnvironment, name: str, *, hidden: bool) -> str | None:
    value = getattr(settings, name)
    if value is None:
        return None
    if hidden:
        return "(hidden)"
    if name == "retry_delays":
        return ",".join(map(delay_name, value))
    if name in _DURATIONS and value:
        return delay_name(value)
    return str(value) or None
