"""Kinds of values that several settings have. No problem ever quotes a secret."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints

from worker.settings.delays import parse_delay


def _seconds(value: object) -> object:
    return 0 if value == "0" else parse_delay(value) if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(_seconds)]
"""Seconds, written as `24h` or `7d`; `0` is never."""

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]


def has_scheme(*schemes: str) -> AfterValidator:
    """Return a check that a secret is a readable URL with one of these schemes."""

    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        try:
            _ = urlsplit(url.get_secret_value()).port
        except ValueError:  # its text quotes the URL, and with it the password
            raise ValueError(
                f"cannot be read as {schemes[0]}://user:password@host:port/name: in user and"
                " password, write %40 for @, %2F for / and %3A for :"
            ) from None
        return url

    return AfterValidator(check)


def _fits_a_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return secret


Credential = Annotated[SecretStr, AfterValidator(_fits_a_header)]
