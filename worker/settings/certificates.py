"""Files for TLS: whoever names one that is of no use learns it at the start."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

if TYPE_CHECKING:
    from collections.abc import Callable


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
