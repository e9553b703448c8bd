"""JD Cloud's request signature, computed from what was received. Pure functions.

Source: JD's documentation of the signature (worker/provider/README.md). Header values and targets
are `str` of Latin-1, one character per received byte, so the bytes that the client signed are the
bytes that are hashed here.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

# JD's signer leaves these alone, besides letters and digits; so ":" becomes "%3A".
_URI_SAFE = "/-_.~"

_AUTHORIZATION = re.compile(
    r"JDCLOUD(?P<version>[23])-HMAC-SHA256\s+"
    r"Credential=(?P<access_key>[^/,\s]+)/(?P<day>[0-9]{8})/(?P<region>[^/,\s]+)"
    r"/(?P<service>[^/,\s]+)/jdcloud(?P=version)_request,\s*"
    r"SignedHeaders=(?P<signed>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signing key is good for. `version` is 2 or 3, the digit of JDCLOUD2 or JDCLOUD3."""

    version: str
    day: str
    region: str
    service: str

    @property
    def algorithm(self) -> str:
        """The first word of the Authorization header."""
        return f"JDCLOUD{self.version}-HMAC-SHA256"

    @property
    def terminator(self) -> str:
        """The last word of the scope."""
        return f"jdcloud{self.version}_request"

    def __str__(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The Authorization header, taken apart."""

    access_key: str
    scope: Scope
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(value: str) -> Authorization | None:
    """Return the header's parts, or None where it has another form."""
    found = _AUTHORIZATION.fullmatch(value)
    if found is None:
        return None
    return Authorization(
        access_key=found["access_key"],
        scope=Scope(found["version"], found["day"], found["region"], found["service"]),
        signed_headers=tuple(found["signed"].split(";")),
        signature=found["signature"],
    )


def canonical_request(
    method: str, target: str, headers: Mapping[str, str], signed: Iterable[str], body: bytes
) -> bytes:
    """Return the canonical request of step 1.

    `headers` has lowercase names and must hold every name in `signed` (else `KeyError`).
    """
    names = sorted(set(signed))
    block = "".join(f"{name}:{_signed_value(name, headers[name])}\n" for name in names)
    path, query = _canonical_target(target)
    text = f"{method}\n{path}\n{query}\n{block}\n{';'.join(names)}\n{sha256(body).hexdigest()}"
    return text.encode("latin-1")


def signature(secret_key: str, scope: Scope, date: str, canonical: bytes) -> str:
    """Return the hex signature of steps 3 and 4; `date` is the x-jdcloud-date header."""
    text = f"{scope.algorithm}\n{date}\n{scope}\n{sha256(canonical).hexdigest()}"
    return hmac.digest(signing_key(secret_key, scope), text.encode("latin-1"), "sha256").hex()


@lru_cache(maxsize=64)  # one scope a day and region; four HMACs saved on every call
def signing_key(secret_key: str, scope: Scope) -> bytes:
    """Return the key of step 4, a chain of HMACs over raw bytes."""
    key = f"JDCLOUD{scope.version}{secret_key}".encode()
    for part in (scope.day, scope.region, scope.service, scope.terminator):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def _signed_value(name: str, value: str) -> str:
    """Trim a header's value; a host is signed without the ports that a URL leaves out."""
    value = value.strip()
    return value.removesuffix(":80").removesuffix(":443") if name == "host" else value


@lru_cache(maxsize=64)
def _canonical_target(target: str) -> tuple[str, str]:
    path, _, query = target.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    encoded = sorted((_encoded(key, "-_.~"), _encoded(value, "-_.~")) for key, _, value in pairs)
    return _encoded(path, _URI_SAFE), "&".join(f"{key}={value}" for key, value in encoded)


def _encoded(text: str, safe: str) -> str:
    """Percent-encode what may be encoded already; a lone "%" (JD's own example) becomes "%25"."""
    return quote(unquote_to_bytes(text.encode("latin-1")), safe=safe)
