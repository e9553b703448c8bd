"""JD Cloud's request signature, computed from what was received. Pure functions.

Source: JD's documentation of the signature (worker/provider/README.md). Header values and targets
are `str` as aiohttp decodes them, which `received_bytes` turns back: the bytes that the client
signed are the bytes that are hashed here.
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
    r"SignedHeaders=(?P<signed_headers>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


def received_bytes(text: str) -> bytes:
    """Return the bytes that a header's value or a target was decoded from."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Authorization:
    """The Authorization header, taken apart. `version` is the digit of JDCLOUD2 or JDCLOUD3."""

    version: str
    access_key: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def algorithm(self) -> str:
        """The first word of the header."""
        return f"JDCLOUD{self.version}-HMAC-SHA256"

    @property
    def scope(self) -> tuple[str, str, str, str]:
        """What a signing key is good for."""
        return self.day, self.region, self.service, f"jdcloud{self.version}_request"


def parse_authorization(value: str) -> Authorization | None:
    """Return the header's parts, or None where it has another form."""
    found = _AUTHORIZATION.fullmatch(value)
    if found is None:
        return None
    parts = found.groupdict()
    return Authorization(**parts | {"signed_headers": tuple(parts["signed_headers"].split(";"))})


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
    return received_bytes(text)


def signature(secret_key: str, given: Authorization, date: str, canonical: bytes) -> str:
    """Return the hex signature of steps 3 and 4; `date` is the x-jdcloud-date header."""
    scope = "/".join(given.scope)
    text = f"{given.algorithm}\n{date}\n{scope}\n{sha256(canonical).hexdigest()}"
    key = signing_key(secret_key, given.version, given.scope)
    return hmac.digest(key, received_bytes(text), "sha256").hex()


@lru_cache(maxsize=64)  # one scope a day and region; four HMACs saved on every call
def signing_key(secret_key: str, version: str, scope: tuple[str, ...]) -> bytes:
    """Return the key of step 4, a chain of HMACs over raw bytes."""
    key = f"JDCLOUD{version}{secret_key}".encode()
    for part in scope:
        key = hmac.digest(key, received_bytes(part), "sha256")
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
    return quote(unquote_to_bytes(received_bytes(text)), safe=safe)
