"""Signatures JDCLOUD2-HMAC-SHA256 and JDCLOUD3-HMAC-SHA256 (README.md here, Signing).

Pure functions, and `JdCloudAuth`, which applies them to a prepared request: every send gets its
own date and nonce. Any thread may sign.
"""

import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes, urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase

SERVICE = "cloudauth"
# JD's signers leave these alone besides letters and digits, so ":" becomes "%3A".
_URI_SAFE = "-_.~/"
_QUERY_SAFE = "-_.~"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signing key is good for; `algorithm` is JDCLOUD2 or JDCLOUD3."""

    algorithm: str
    region: str
    service: str = SERVICE

    @property
    def terminator(self) -> str:
        """The last word of the scope."""
        return f"{self.algorithm.lower()}_request"

    def on(self, day: str) -> str:
        """Return the scope as it is written on a day (yyyymmdd)."""
        return f"{day}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, in canonical form."""

    host: str
    uri: str
    query: str


@lru_cache(maxsize=8)
def canonical_target(url: str) -> Target:
    """Return a URL's parts as they are signed; a worker has one URL, so this is computed once."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].removesuffix(":80").removesuffix(":443")
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    query = sorted(
        (_encoded(key, _QUERY_SAFE), _encoded(value, _QUERY_SAFE)) for key, _, value in pairs
    )
    return Target(
        host,
        _encoded(parts.path or "/", _URI_SAFE),
        "&".join(f"{key}={value}" for key, value in query),
    )


def _encoded(text: str, safe: str) -> str:
    """Percent-encode what may be encoded already; a lone "%" (JD's own example) becomes "%25"."""
    return quote(unquote_to_bytes(text), safe=safe)


def canonical_request(
    method: str, target: Target, headers: Mapping[str, str], body: bytes
) -> tuple[str, str]:
    """Return step 1's canonical request, and the names of the signed headers joined by ";".

    `headers` are the headers to sign and no other; their names are in lower case.
    """
    names = sorted(headers)
    signed = ";".join(names)
    block = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    digest = sha256(body).hexdigest()
    return f"{method}\n{target.uri}\n{target.query}\n{block}\n{signed}\n{digest}", signed


def string_to_sign(scope: Scope, date: str, canonical: str) -> str:
    """Return step 3's text; `date` is the x-jdcloud-date header (YYYYMMDDTHHMMSSZ)."""
    digest = sha256(canonical.encode()).hexdigest()
    return f"{scope.algorithm}-HMAC-SHA256\n{date}\n{scope.on(date[:8])}\n{digest}"


def signing_key(secret_key: str, scope: Scope, day: str) -> bytes:
    """Return step 4's key for a day (yyyymmdd): a chain of HMACs over raw bytes."""
    key = f"{scope.algorithm}{secret_key}".encode()
    for part in (day, scope.region, scope.service, scope.terminator):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """Return the signature in hexadecimal."""
    return hmac.digest(key, text.encode(), "sha256").hex()


class JdCloudAuth(AuthBase):
    """Signs prepared requests that have a Content-Type; `clock` tells an aware UTC time."""

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        scope: Scope,
        *,
        clock: Callable[[], datetime],
        nonce: Callable[[], str],
        session_token: str | None = None,
    ) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._scope = scope
        self._clock = clock
        self._nonce = nonce
        self._token = b64encode(session_token.encode()).decode() if session_token else None
        self._daily = ("", b"")

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Sign the request as it stands: call it last, and once for each send."""
        date = _compact(self._clock())
        target = canonical_target(str(r.url))
        fresh = {"x-jdcloud-date": date, "x-jdcloud-nonce": self._nonce()}
        if self._token is not None:
            fresh["x-jdcloud-security-token"] = self._token
        headers = {"content-type": r.headers["Content-Type"], "host": target.host, **fresh}
        canonical, signed = canonical_request(str(r.method), target, headers, _body(r))
        day = date[:8]
        signature = sign(self._key(day), string_to_sign(self._scope, date, canonical))
        fresh["Authorization"] = (
            f"{self._scope.algorithm}-HMAC-SHA256 "
            f"Credential={self._access_key}/{self._scope.on(day)}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        r.headers.update(fresh)
        return r

    def _key(self, day: str) -> bytes:
        # One tuple, replaced whole: two threads at midnight both compute the same key.
        known, key = self._daily
        if known != day:
            key = signing_key(self._secret_key, self._scope, day)
            self._daily = (day, key)
        return key


def _compact(moment: datetime) -> str:
    """Return a UTC time as YYYYMMDDTHHMMSSZ; `strftime` takes five times as long."""
    return moment.isoformat()[:19].replace("-", "").replace(":", "") + "Z"


def _body(request: PreparedRequest) -> bytes:
    body = request.body or b""
    return body.encode() if isinstance(body, str) else body
