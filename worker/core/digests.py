"""Keyed digests: equal for equal data, useless without the key.

A plain hash of an 18-digit number can be enumerated in minutes, so every digest is an HMAC.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.core.request import VerificationRequest


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests under one `DIGEST_KEY` (raw bytes, never shown)."""

    key: bytes = field(repr=False)

    def subject(self, id_card: str) -> bytes:
        """Return the 32-byte HMAC-SHA256 of a normalised ID number: the column people look up."""
        return hmac.digest(self.key, id_card.encode(), sha256)

    def request(self, request: VerificationRequest) -> bytes:
        """Return the fingerprint of what is asked: the check type and the person's fields."""
        parts = [str(int(request.check_type))]
        parts += [f"{name}={request.person.fields[name]}" for name in sorted(request.person.fields)]
        # A unit separator cannot stand in a checked field, so no two lists read the same.
        return self._fingerprint("\x1f".join(parts).encode())

    def body(self, body: bytes) -> bytes:
        """Return the fingerprint of a message that did not become a request."""
        return self._fingerprint(body)

    def _fingerprint(self, data: bytes) -> bytes:
        # The leading byte keeps the two uses of one key apart: no ID number begins with it.
        return hmac.digest(self.key, b"\x00" + data, sha256)
