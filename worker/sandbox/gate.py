"""The gate: who may call. Checks credentials, clock, signature and nonce, in that order.

The nonce comes last, so that a request with a wrong signature burns none.
"""

import base64
import hmac
import re
from datetime import UTC, datetime

from worker.sandbox.nonces import NonceMemory
from worker.sandbox.refusal import (
    illegal_header,
    lacks,
    nonce_conflict,
    unknown_key,
    wrong_signature,
)
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.signature import (
    Authorization,
    canonical_request,
    parse_authorization,
    signature,
)
from worker.sandbox.wire import Request

_DATE = "x-jdcloud-date"
_NONCE = "x-jdcloud-nonce"
_TOKEN = "x-jdcloud-security-token"  # noqa: S105 - the name of a header
_DATE_FORM = re.compile(r"[0-9]{8}T[0-9]{6}Z")
# A UUID has 36; a bound keeps the memory of nonces bounded in bytes too.
_NONCE_CHARACTERS = 128


class Gate:
    """Lets a signed request pass, once."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._nonces = NonceMemory(settings.nonces_kept)
        token = settings.session_token
        self._token = None if token is None else base64.b64encode(token.encode())

    def admit(self, request: Request, now: float) -> None:
        """Return where the request may pass; raise `Refused` otherwise. `now` is epoch seconds."""
        headers = request.headers
        authorization = _authorization(headers.get("authorization"))
        date = _required(headers, _DATE, authorization)
        nonce = _required(headers, _NONCE, authorization)
        self._check_credentials(headers, authorization)
        self._check_clock(date, authorization, now)
        self._check_signature(request, date, authorization)
        if len(nonce) > _NONCE_CHARACTERS:
            raise illegal_header(_NONCE)
        if not self._nonces.use(nonce):
            raise nonce_conflict()

    def _check_credentials(self, headers: dict[str, str], authorization: Authorization) -> None:
        if not _same(authorization.access_key, self._settings.access_key.encode()):
            raise unknown_key()
        if self._token is None and _TOKEN not in headers:
            return
        token = _required(headers, _TOKEN, authorization)
        if self._token is None or not _same(token, self._token):
            raise unknown_key()

    def _check_clock(self, date: str, authorization: Authorization, now: float) -> None:
        if _DATE_FORM.fullmatch(date) is None:
            raise illegal_header(_DATE)
        try:
            # Basic ISO format, read since Python 3.11; strptime takes ten times as long.
            signed_at = datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise illegal_header(_DATE) from error
        if authorization.scope.day != date[:8]:
            raise wrong_signature("the credential's day is not the day of x-jdcloud-date")
        if abs(now - signed_at) > self._settings.max_clock_skew:
            raise wrong_signature("x-jdcloud-date is too far from the server's clock")

    def _check_signature(self, request: Request, date: str, authorization: Authorization) -> None:
        scope = authorization.scope
        if scope.service != self._settings.service:
            raise wrong_signature("the credential is for another service")
        if self._settings.region not in {None, scope.region}:
            raise wrong_signature("the credential is for another region")
        try:
            canonical = canonical_request(
                request.method,
                request.target,
                request.headers,
                authorization.signed_headers,
                request.body,
            )
        except KeyError as error:
            raise lacks("a header that SignedHeaders names") from error
        expected = signature(self._settings.secret_key, scope, date, canonical)
        if not _same(authorization.signature, expected.encode()):
            raise wrong_signature("the signature is not that of the request received")


def _authorization(value: str | None) -> Authorization:
    if value is None:
        raise lacks("authorization")
    authorization = parse_authorization(value)
    if authorization is None:
        raise illegal_header("authorization")
    return authorization


def _required(headers: dict[str, str], name: str, authorization: Authorization) -> str:
    """Return a header that must be there, and signed.

    Date and nonce always: without them a signature could be replayed. Host and content-type only
    where SignedHeaders names them: the vector of JD's documentation signs neither.
    """
    value = headers.get(name, "").strip()
    if not value or name not in authorization.signed_headers:
        raise lacks(name)
    return value


def _same(given: str, ours: bytes) -> bool:
    return hmac.compare_digest(given.encode("latin-1"), ours)
