"""Kinds of values that several settings have. No problem ever quotes a secret."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_delay(text: str) -> int:
    """Return the seconds of `5s`, `2m`, `1h` or `1d`."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if not number.isascii() or not number.isdecimal() or unit not in _UNITS or int(number) == 0:
        raise ValueError("must be written as 5s, 2m, 1h or 7d")
    return int(number) * _UNITS[unit]


def delay_name(seconds: int) -> str:
    """Return the name of a delay as queues carry it: the largest unit that divides it."""
    unit = next(unit for unit in ("h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _seconds(value: object) -> object:
    return 0 if value == "0" else parse_delay(value) if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(_seconds)]
"""Seconds, written as `24h` or `7d`; `0` is never."""


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise ValueError("must be 1 to 64 letters, digits and hyphens")
    return text


Word = Annotated[str, AfterValidator(_word)]


def is_url(check: Callable[[str], None]) -> AfterValidator:
    """Return a check of a URL, secret or not, by one of `addresses`."""

    def checked(url: SecretStr | str | None) -> SecretStr | str | None:
        if url is not None:
            check(url if isinstance(url, str) else url.get_secret_value())
        return url

    return AfterValidator(checked)


def _fits_a_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return secret


Credential = Annotated[SecretStr, AfterValidator(_fits_a_header)]


def refuse_unless(loads: Callable[[ssl.SSLContext], None], what: str) -> None:
    """Raise a `ValueError` in words unless a TLS context can load a file."""
    try:
        loads(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except (ssl.SSLError, ValueError):
        raise ValueError(f"is not {what}") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({type(error).__name__})") from None


def _certificates(path: Path) -> Path:
    refuse_unless(lambda tls: tls.load_verify_locations(path), "certificates in PEM")
    return path


CertificateFile = Annotated[Path, AfterValidator(_certificates)]
"""Whoever names a file for TLS that is of no use learns it at the start."""
