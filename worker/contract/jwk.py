"""The keys that messages are encrypted to: JSON Web Keys (RFC 7517) of three kinds, no others.

A key's `kid` is how a message names it, so each has one. Only the members that make the key are
read: what else stands in a JWK (`key_ops`, `alg`) is its maker's business and refuses nothing here.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from joserfc.jwe import JWERegistry
    from joserfc.jwk import Key

_AGREED = ("ECDH-ES+A256KW", "ECDH-ES")
ALGORITHMS = {"EC": _AGREED, "OKP": _AGREED, "RSA": ("RSA-OAEP-256",)}
"""By kind of key, what may encrypt to it (`alg`); the first is what we use ourselves."""

ENCRYPTIONS = ("A256GCM", "A128CBC-HS256")
"""What may encrypt the content (`enc`); the first is what we use ourselves."""

LONGEST_HEADER = 1_024
"""Four names of algorithms and keys, and an ephemeral key of 130 characters, in base64url."""
# As MAX_MESSAGE_BYTES at its most: the reader has refused what is larger than that is set to.
_LONGEST = 134_217_728

_CURVES = {"EC": "P-256", "OKP": "X25519", "RSA": None}
_MEMBERS = {
    "EC": ("crv", "x", "y", "d"),
    "OKP": ("crv", "x", "d"),
    "RSA": ("n", "e", "d", "p", "q", "dp", "dq", "qi"),
}

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

    def public(self) -> dict[str, Any]:
        """Return it as a JWK for publishers; `alg` is a recommendation."""
        return {
            "kty": self.kind,
            "use": "enc",
            "alg": self.algorithms[0],
            "kid": self.kid,
            **self.key.as_dict(private=False),
        }

    def private(self) -> dict[str, Any]:
        """Return it as a JWK for the workers."""
        return {**self.public(), **self.key.as_dict(private=True)}

    def seal(self, body: bytes) -> bytes:
        """Return a body encrypted to this key."""
        from joserfc.jwe import encrypt_compact

        header = {"alg": self.algorithms[0], "enc": ENCRYPTIONS[0], "kid": self.kid}
        return encrypt_compact(header, body, self.key, registry=registry()).encode("ascii")

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


def read_public_key(text: str | bytes) -> MessageKey:
    """Read a public JWK, or the first of a JWK Set; raises `KeyUnusable`."""
    return read_key(jwks_in(text)[0], private=False)


def new_key(kind: str, kid: str) -> MessageKey:
    """Make a private key of this kind; raises `KeyUnusable` for what is no kid."""
    from joserfc.jwk import JWKRegistry

    made = JWKRegistry.generate_key(kind, _CURVES[kind] or _NEW_RSA_BITS)
    return read_key({**made.as_dict(private=True), "kid": kid}, private=True)


def _imported(kind: str, jwk: Mapping[str, Any]) -> Key:
    from joserfc.errors import JoseError
    from joserfc.jwk import OKPKey, import_key

    members = {name: jwk[name] for name in _MEMBERS[kind] if name in jwk}
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


@cache
def registry() -> JWERegistry:
    """Return what joserfc may use: our few algorithms and no compression."""
    from joserfc.jwe import JWERegistry

    algorithms = {each for every in ALGORITHMS.values() for each in every}
    allowed = JWERegistry(algorithms=[*algorithms, *ENCRYPTIONS])
    allowed.max_protected_header_length = LONGEST_HEADER
    allowed.max_ciphertext_length = _LONGEST
    return allowed
