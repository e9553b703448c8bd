"""Who may call, and about whom: a request is admitted with its person, or refused.

Credentials, clock, signature and nonce are checked in this order, then the body. The nonce comes
after the signature, so that a request with a wrong signature burns none.

Status strings are those of JD's gateway documentation, its spelling of NOT_EXITST included.
"""

import base64
import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from worker.sandbox.settings import SandboxSettings
from worker.sandbox.signature import (
    Authorization,
    canonical_request,
    parse_authorization,
    received_bytes,
    signature,
)

_DATE = "x-jdcloud-date"
_NONCE = "x-jdcloud-nonce"
_TOKEN = "x-jdcloud-security-token"  # noqa: S105 - the name of a header
_DATE_FORM = re.compile(r"[0-9]{8}T[0-9]{6}Z")
# A UUID has 36; a bound keeps the memory of nonces bounded in bytes too.
_NONCE_CHARACTERS = 128

# The fields of each check type. Type 3 was sold in two readings: bank card until 2023-11, ID card
# since (see provider/README.md).
_FIELDS: Mapping[int, tuple[set[str], ...]] = {
    0: ({"name", "idCard", "bankcard", "mobile"},),
    1: ({"name", "idCard", "bankcard"},),
    2: ({"name", "idCard"},),
    3: ({"name", "idCard", "imgBase64"}, {"name", "bankcard", "imgBase64"}),
    4: ({"name", "idCard", "mobile"},),
}


@dataclass(eq=False)
class CallRefused(Exception):
    """One call is refused; the message is ours and never quotes the request."""

    code: int
    status: str
    message: str


_LACKS = (401, "APIGW_LACK_PARAMS", "missing or not signed: {}")
_ILLEGAL = (401, "APIGW_ILLEGAL_HEADER", "illegal header: {}")
_UNKNOWN_KEY = (401, "APIGW_KEY_NOT_EXITST", "错误的密钥")
_NOT_SAME = (401, "APIGW_SIGN_RESULT_NOT_SAME", "签名不一致: {}")
_REPEATED = (403, "APIGW_NONCE_CONFLICT", "重复访问")
_INVALID = (400, "INVALID_ARGUMENT", "{}")


def _refused(why: tuple[int, str, str], what: str = "") -> CallRefused:
    code, status, words = why
    return CallRefused(code, status, words.format(what))


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """One request. Header names are lowercase, or `headers` knows them in any case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PersonalUser:
    """One `personalUser`. Its fields have no `repr`."""

    fields: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """The name, as sent."""
        return self.fields["name"]

    @property
    def number(self) -> str:
        """What behaviours and counts are keyed on: the ID number, or else the bank card's."""
        return self.fields.get("idCard") or self.fields["bankcard"]


class CallAdmission:
    """Lets a signed request pass, once."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._nonces: OrderedDict[str, None] = OrderedDict()
        token = settings.session_token
        self._token = None if token is None else base64.b64encode(token.encode())

    def admit(self, call: ReceivedCall, now: float) -> PersonalUser:
        """Return whom a call asks about, or raise `CallRefused`; `now` is epoch seconds."""
        headers = call.headers
        if (named := headers.get("authorization")) is None:
            raise _refused(_LACKS, "authorization")
        if (authorization := parse_authorization(named)) is None:
            raise _refused(_ILLEGAL, "authorization")
        # JD's own SDK adds both after it has signed: they must be there, signed or not. The date is
        # part of what is signed anyway.
        date, nonce = _required(headers, _DATE), _required(headers, _NONCE)
        self._check_credentials(headers, authorization)
        self._check_clock(date, authorization, now)
        self._check_signature(call, date, authorization)
        if len(nonce) > _NONCE_CHARACTERS:
            raise _refused(_ILLEGAL, _NONCE)
        self._use(nonce)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise _refused(_INVALID, "Content-Type must be application/json")
        return read_person(call.body)

    def _use(self, nonce: str) -> None:
        if nonce in self._nonces:
            raise _refused(_REPEATED)
        self._nonces[nonce] = None
        if len(self._nonces) > self._settings.nonces_kept:
            self._nonces.popitem(last=False)

    def _check_credentials(self, headers: Mapping[str, str], authorization: Authorization) -> None:
        if not _same(authorization.access_key, self._settings.access_key.encode()):
            raise _refused(_UNKNOWN_KEY)
        if self._token is None and _TOKEN not in headers:
            return
        token = _required(headers, _TOKEN)
        if _TOKEN not in authorization.signed_headers:
            raise _refused(_LACKS, _TOKEN)
        if self._token is None or not _same(token, self._token):
            raise _refused(_UNKNOWN_KEY)

    def _check_clock(self, date: str, authorization: Authorization, now: float) -> None:
        if _DATE_FORM.fullmatch(date) is None:
            raise _refused(_ILLEGAL, _DATE)
        try:
            # Basic ISO format, read since Python 3.11; strptime takes ten times as long.
            signed_at = datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise _refused(_ILLEGAL, _DATE) from error
        if authorization.day != date[:8]:
            raise _refused(_NOT_SAME, "the credential's day is not the day of x-jdcloud-date")
        if abs(now - signed_at) > self._settings.max_clock_skew:
            raise _refused(_NOT_SAME, "x-jdcloud-date is too far from the server's clock")

    def _check_signature(self, call: ReceivedCall, date: str, authorization: Authorization) -> None:
        if authorization.service != self._settings.service:
            raise _refused(_NOT_SAME, "the credential is for another service")
        if self._settings.region not in {None, authorization.region}:
            raise _refused(_NOT_SAME, "the credential is for another region")
        try:
            canonical = canonical_request(
                call.method, call.target, call.headers, authorization.signed_headers, call.body
            )
        except KeyError as error:
            raise _refused(_LACKS, "a header that SignedHeaders names") from error
        expected = signature(self._settings.secret_key, authorization, date, canonical)
        if not _same(authorization.signature, expected.encode()):
            raise _refused(_NOT_SAME, "the signature is not that of the request received")


def read_person(body: bytes) -> PersonalUser:
    """Return whom a body asks about; raise `CallRefused` (400) where it is no check type's."""
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Not chained: the decoder's error keeps the whole document.
        raise _refused(_INVALID, "the body is not JSON") from None
    spec = _object(document, {"personalSpec"}, "the body")["personalSpec"]
    spec = _object(spec, {"checkType", "personalUser"}, "personalSpec")
    check_type, user = spec["checkType"], spec["personalUser"]
    if not isinstance(check_type, int) or isinstance(check_type, bool) or check_type not in _FIELDS:
        raise _refused(_INVALID, "checkType must be an integer from 0 to 4")
    if isinstance(user, dict):  # JD's own SDK sends null for what is not set
        user = {name: value for name, value in user.items() if value is not None}
    if not isinstance(user, dict) or user.keys() not in _FIELDS[check_type]:
        raise _refused(_INVALID, f"personalUser must have exactly the fields of check {check_type}")
    if not all(isinstance(value, str) and value for value in user.values()):
        raise _refused(_INVALID, "personalUser's fields must be strings that are not empty")
    return PersonalUser(user)


def _object(value: object, fields: set[str], name: str) -> dict[str, object]:
    if not isinstance(value, dict) or value.keys() != fields:
        raise _refused(_INVALID, f"{name} must be an object of exactly {', '.join(sorted(fields))}")
    return value


def _required(headers: Mapping[str, str], name: str) -> str:
    """Return a header that must be there. What is signed, SignedHeaders says."""
    value = headers.get(name, "").strip()
    if not value:
        raise _refused(_LACKS, name)
    return value


def _same(given: str, ours: bytes) -> bool:
    return hmac.compare_digest(received_bytes(given), ours)
