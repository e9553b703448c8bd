"""Keyed digests: equal for equal data, useless without the key.

A plain hash of an 18-digit number can be enumerated in minutes, so every digest is an HMAC.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from worker.core.request import VerificationRequest


@dataclass(frozen=True, slots=True)
class Digest:
    """What is kept of a request in place of its data, under one key."""

    key_id: str
    fingerprint: bytes
    """32 bytes for what is asked: the same id with another one is a conflict."""
    subject: bytes | None
    """32 bytes for whose ID number it is, where one is asked for: the column people look up."""


class Digests:
    """The digests under `DIGEST_KEY` and, while it is rotated, under its fallbacks.

    Keys are raw bytes, the current one first; they are never shown.
    """

    def __init__(self, *keys: bytes) -> None:
        self._keys = tuple((_key_id(key), key) for key in keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """What tells the keys apart, the current one's first: 8 hexadecimal digits."""
        return tuple(key_id for key_id, _ in self._keys)

    def subjects(self, id_card: str) -> list[bytes]:
        """Return the 32-byte HMAC-SHA256 of a normalised ID number under every key.

        A row stands under the one that its worker had.
        """
        return [_subject(key, id_card) for _, key in self._keys]

    def of_request(self, request: VerificationRequest) -> tuple[Digest, ...]:
        """Return what is kept of a checked request, under every key."""
        parts = [str(int(request.check_type))]
        parts += [f"{name}={request.person.fields[name]}" for name in sorted(request.person.fields)]
        # A unit separator cannot stand in a checked field, so no two lists read the same.
        return self._of("\x1f".join(parts).encode(), request.person.id_card)

    def of_body(self, body: bytes) -> tuple[Digest, ...]:
        """Return what is kept of a message that did not become a request, under every key."""
        return self._of(body, None)

    def _of(self, data: bytes, id_card: str | None) -> tuple[Digest, ...]:
        return tuple(
            Digest(
                key_id,
                hmac.digest(key, b"\x00" + data, sha256),
                None if id_card is None else _subject(key, id_card),
            )
            for key_id, key in self._keys
        )


def fits(digests: Sequence[Digest], key_id: str | None, fingerprint: bytes) -> bool | None:
    """Return whether a stored fingerprint is of the same data as these digests.

    None: it is under a key that is not among theirs, and nobody can tell. A `key_id` of None is
    any key: that of a row from before keys had ids.
    """
    comparable = [each.fingerprint for each in digests if key_id in (None, each.key_id)]
    return fingerprint in comparable if comparable else None


# The leading byte keeps the three uses of one key apart: no ID number begins with one of these.


def _subject(key: bytes, id_card: str) -> bytes:
    return hmac.digest(key, id_card.encode(), sha256)


def _key_id(key: bytes) -> str:
    """Return an id that needs no setting and cannot be given to two keys: it is the key's own."""
    return hmac.digest(key, b"\x01key id", sha256)[:4].hex()
