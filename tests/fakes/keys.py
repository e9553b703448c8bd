"""Keys of messages for tests, and messages that are encrypted to them in any way."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from joserfc.jwe import JWERegistry, encrypt_compact
from joserfc.jwk import generate_key

from worker.contract.encryption import MessageKeys
from worker.contract.jwk import MessageKey, new_key, read_key


def message_key(kind: str = "EC", kid: str = "now") -> MessageKey:
    """Return a private key, the same at every call."""
    return _made(kind, kid)


@cache
def _made(kind: str, kid: str) -> MessageKey:
    if kind == "RSA":
        # A tenth of a second, where the bits of `generate` take half a one.
        jwk = generate_key("RSA", 2_048).as_dict(private=True)
        return read_key({**jwk, "kid": kid}, private=True)
    return new_key(kind, kid)


def message_keys(*kids: str) -> MessageKeys:
    """Return keys with these names; without any, one that is called `now`."""
    return MessageKeys(*(message_key(kid=kid) for kid in kids or ("now",)))


def as_setting(*kids: str) -> str:
    """Return the same as MESSAGE_KEYS takes them."""
    return json.dumps(message_keys(*kids).private())


def encrypted(body: bytes, key: MessageKey | None = None, **header: Any) -> bytes:
    """Encrypt a body with any header: what is not given is as the guide has it."""
    key = key or message_key()
    told = {"alg": key.algorithms[0], "enc": "A256GCM", "kid": key.kid, **header}
    told = {name: value for name, value in told.items() if value is not None}
    registry = JWERegistry(algorithms=["ECDH-ES", "A256GCM", "DEF", *told.values()])
    registry.strict_check_header = False
    return encrypt_compact(told, body, key.key, registry=registry).encode()
