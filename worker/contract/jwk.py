"""The keys that messages are encrypted to: JSON Web Keys (RFC 7517) of three kinds, no others.

A key's `kid` is how a message names it, so each has one. Only the members that make the key are
read: what else stands in a JWK (`key_ops`, `alg`) is its maker's business and refuses nothing here.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from joserfc.jwk import Key

_AGREED = ("ECDH-ES+A256KW", "ECDH-ES")
ALGORITHMS = {"EC": _AGREED, "OKP": _AGREED, "RSA": ("RSA-OAEP-256",)}
"""By kind of key, what may encrypt to it (`alg`); the first is what we use ourselves."""

_CURVES = {"EC": "P-256", "OKP": "X25519", "RSA": None}
_PUBLIC = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e")}
_PRIVATE = {"EC": ("d",), "OKP": ("d",), "RSA": ("d", "p", "q", "dp", "dq", "qi")}

# 2,048 is the least that RFC 7518 allows; with 4,096 to open a message takes 1.6 ms, with twice as
# many six times as long.
_RSA_BITS = range(2_048, 4_097)
_NEW_RSA_BITS = 3_072  # NIST SP 800-57: 2,048 is for use until 2030

_KID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class KeyUnusable(Exception):
    """A key set that cannot be used; `problems` name what is wrong and quote nothing."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class MessageKey:
    """One key, public or private; neither has a `repr`."""

    kid: str
    key: Key

    @property
    def kind(self) -> str:
        """EC, OKP or RSA, as `kty` has it."""
        return self.key.key_type

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What may encrypt to it."""
        return ALGORITHMS[self.kind]

    def public(self) -> dict[str, str]:
        """Return it as a JWK for publishers; `alg` is a recommendation."""
        return {
            "kty": self.kind,
            "use": "enc",
            "alg": self.algorithms[0],
            "kid": self.kid,
            **_members(self.key.as_dict(private=False), _PUBLIC[self.kind]),
        }

    def private(self) -> dict[str, str]:
        """Return it as a JWK for the workers."""
        secret = _members(self.key.as_dict(private=True), _PRIVATE[self.kind])
        return {**self.public(), **secret}

    def __repr__(self) -> str:
        return f"<MessageKey {self.kid}>"


def jwks_in(text: str | bytes) -> list[object]:
    """Return the keys of a JWK Set, or one JWK alone, unread; raises `KeyUnusable`."""
    try:
        tree = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise KeyUnusable("is not JSON") from None
    if isinstance(tree, dict) and "kty" in tree:
        return [tree]
    keys = tree.get("keys") if isinstance(tree, dict) else None
    if not isinstance(keys, list) or not keys:
        raise KeyUnusable('must be a JWK Set with a key: {"keys": [...]}')
    return keys


def read_key(jwk: object, *, private: bool) -> MessageKey:
    """Read a JWK; raises `KeyUnusable`. `private`: whether it must be one, or must not."""
    if not isinstance(jwk, dict):
        raise KeyUnusable("is no JSON object")
    kid, kind = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise KeyUnusable("needs a kid of 1 to 64 letters, digits and . _ -")
    if not isinstance(kind, str) or jwk.get("crv") != _CURVES.get(kind, ""):
        raise KeyUnusable("must have kty EC and crv P-256, OKP and X25519, or RSA")
    if jwk.get("use", "enc") != "enc":
        raise KeyUnusable("must have use enc: it is for signatures")
    if ("d" in jwk) is not private:
        raise KeyUnusable("must be a private key" if private else "must not be a private key")
    return MessageKey(kid, _imported(kind, jwk))


def new_key(kind: str, kid: str) -> MessageKey:
    """Make a private key of this kind; raises `KeyUnusable` for what is no kid."""
    from joserfc.jwk import generate_key

    made: Key
    match kind:
        case "RSA":
            made = generate_key("RSA", _NEW_RSA_BITS)
        case "OKP":
            made = generate_key("OKP", "X25519")
        case _:
            made = generate_key("EC", "P-256")
    return read_key({**made.as_dict(private=True), "kid": kid}, private=True)


def _imported(kind: str, jwk: Mapping[str, Any]) -> Key:
    from joserfc.errors import JoseError
    from joserfc.jwk import OKPKey, import_key

    members = _members(jwk, _PUBLIC[kind] + _PRIVATE[kind])
    # Before the import, which warns of a short one on standard error.
    if kind == "RSA" and _bits(members.get("n")) not in _RSA_BITS:
        raise KeyUnusable(f"must have {_RSA_BITS[0]} to {_RSA_BITS[-1]} bits")
    try:
        key = import_key({"kty": kind, **members})
    except (JoseError, ValueError):
        raise KeyUnusable("is damaged: its members make no key") from None
    # joserfc makes a private key of its `d` alone, and publishers would encrypt to another `x`.
    if isinstance(key, OKPKey) and OKPKey.import_key(key.public_key)["x"] != jwk["x"]:
        raise KeyUnusable("is damaged: x does not belong to d")
    return key


def _bits(number: object) -> int:
    """Return how long a number is in base64url, 0 for what is none."""
    try:
        return int.from_bytes(urlsafe_b64decode(f"{number}==")).bit_length()
    except ValueError:
        return 0


def _members(jwk: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    return {name: jwk[name] for name in names if name in jwk}
