"""Messages that only their two ends can read: a whole body as one JWE in compact serialization.

Publishers encrypt to a public key of the workers (RFC 7516, RFC 7518), so that neither the broker
nor any of its queues on disk ever has a raw field. Any thread may enter. joserfc is imported where
there are keys alone: with the library under it that takes 0.1 s and 10 MB.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

from worker.contract.jwk import (
    ENCRYPTIONS,
    LONGEST_HEADER,
    KeyUnusable,
    MessageKey,
    jwks_in,
    read_key,
    registry,
)
from worker.settings import MessageSettings, SettingsInvalid

if TYPE_CHECKING:
    from joserfc.jwk import GuestProtocol, Key

JOSE, JSON = "application/jose", "application/json"
"""The content types of encrypted and of raw messages."""

# Base64url of an object's brace and a quotation mark or space: no JSON text begins like that.
_HEAD = re.compile(rb"[ \t\r\n]*e[wy]")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# What the header may say. `zip` may not (15 kB can become 10 MB), nor what belongs to keys that are
# a password (`p2c` has us count) or that stand elsewhere (`jku` has us fetch).
_HEADERS = frozenset({"alg", "enc", "kid", "epk", "apu", "apv", "typ", "cty"})

_NO_KEYS = "is encrypted, and there are no MESSAGE_KEYS here to open it"
_UNKNOWN_KEY = "is encrypted to a key that is not known here: use the present key set, and its kid"
_NOT_TAKEN = (
    "is encrypted in a way that is not taken: see the guide for alg and enc; no zip, no header but"
    " kid, typ, cty, apu, apv"
)
_DAMAGED = "is encrypted and cannot be opened: damaged, or made for another key of this kid"


class Undecryptable(Exception):
    """An encrypted body that cannot be opened here; the text says why, with nothing of it."""


def is_encrypted(body: bytes) -> bool:
    """Return whether a body means to be a compact JWE: five parts in base64url.

    The body alone decides: a content type is easily forgotten, and no JSON looks like that.
    """
    return bool(_HEAD.match(body)) and body.strip().translate(None, _ALPHABET) == b"...."


def media_type(body: bytes) -> str:
    """Return the content type of a body, whoever wrote it."""
    return JOSE if is_encrypted(body) else JSON


def decrypted(body: bytes, keys: MessageKeys | None) -> bytes:
    """Return what an encrypted body holds; raises `Undecryptable`, and without keys always."""
    if keys is None:
        raise Undecryptable(_NO_KEYS)
    return keys.open(body)


class MessageKeys:
    """The workers' private keys: the first is the current one, the others still open."""

    def __init__(self, *keys: MessageKey) -> None:
        self._current = keys[0]
        self._keys = {key.kid: key for key in keys}

    @classmethod
    def of(cls, settings: MessageSettings) -> Self | None:
        """Return the keys that are set, None where none are; raises `SettingsInvalid`."""
        if settings.message_keys is None:
            return None
        try:
            return cls.read(settings.message_keys.get_secret_value())
        except KeyUnusable as unusable:
            problems = [f"MESSAGE_KEYS: {problem}" for problem in unusable.problems]
            raise SettingsInvalid(problems) from None

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """Read a JWK Set of private keys; raises `KeyUnusable` with all that is wrong."""
        keys: list[MessageKey] = []
        problems: list[str] = []
        for place, jwk in enumerate(jwks_in(text), 1):
            try:
                key = read_key(jwk, private=True)
            except KeyUnusable as unusable:
                problems += [f"key {place} {problem}" for problem in unusable.problems]
                continue
            if key.kid in {each.kid for each in keys}:
                problems.append(f"key {place} has the kid of an earlier one")
            keys.append(key)
        if problems:
            raise KeyUnusable(*problems)
        return cls(*keys)

    @property
    def kids(self) -> list[str]:
        """The keys' names, the current one's first."""
        return list(self._keys)

    def with_first(self, key: MessageKey) -> Self:
        """Return these keys with a new current one; raises `KeyUnusable` where its kid is taken."""
        if key.kid in self._keys:
            raise KeyUnusable("has a key with this kid: give another one by --kid")
        return type(self)(key, *self._keys.values())

    def open(self, body: bytes) -> bytes:
        """Return what a body that `is_encrypted` holds, opened once; raises `Undecryptable`."""
        from joserfc.errors import JoseError, MissingAlgorithmError, MissingEncryptionError
        from joserfc.jwe import decrypt_compact

        body = body.strip()
        if body.find(b".") > LONGEST_HEADER:
            raise Undecryptable(_NOT_TAKEN)
        try:
            content = decrypt_compact(body, self._key, registry=registry()).plaintext
        except (MissingAlgorithmError, MissingEncryptionError):
            raise Undecryptable(_NOT_TAKEN) from None
        # What joserfc and `cryptography` raise at rubbish, asserts of theirs included: a message
        # must not end a worker. Their words may repeat some of it.
        except (JoseError, ValueError, TypeError, LookupError, AssertionError):
            raise Undecryptable(_DAMAGED) from None
        return content or b""

    def seal(self, body: bytes) -> bytes:
        """Return a body encrypted to the current key."""
        return self._current.seal(body)

    def public(self) -> dict[str, Any]:
        """Return the JWK Set for publishers, the current key first."""
        return {"keys": [key.public() for key in self._keys.values()]}

    def private(self) -> dict[str, Any]:
        """Return the JWK Set that was read."""
        return {"keys": [key.private() for key in self._keys.values()]}

    def _key(self, message: GuestProtocol) -> Key:
        """Return the key that a header names; raises `Undecryptable` for what is not taken."""
        header = message.headers()
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise Undecryptable(_UNKNOWN_KEY)
        if (
            header.get("alg") not in key.algorithms
            or header.get("enc") not in ENCRYPTIONS
            or header.keys() - _HEADERS
        ):
            raise Undecryptable(_NOT_TAKEN)
        return key.key
