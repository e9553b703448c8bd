"""Whether messages are encrypted, and the keys that open them."""

from __future__ import annotations

from enum import StrEnum

import orjson
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from worker.settings.environment import FromEnvironment


class MessageEncryption(StrEnum):
    """What is made of raw messages."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class MessageSettings(FromEnvironment):
    """What the worker and the tools that look into messages open them by."""

    message_keys: SecretStr | None = Field(
        None, description="JWK Set of private keys for encrypted messages, the current one first"
    )
    message_encryption: MessageEncryption = Field(
        MessageEncryption.OPTIONAL, description="optional; required: raw messages are refused"
    )

    @field_validator("message_keys")
    @classmethod
    def _is_a_set(cls, keys: SecretStr | None) -> SecretStr | None:
        """See that it is JSON of that form: the keys themselves are read by who has a use for them.

        Their library takes longer to load than all the rest of a command.
        """
        if keys is None:
            return None
        try:
            is_one = isinstance(orjson.loads(keys.get_secret_value())["keys"], list)
        except (ValueError, TypeError, LookupError):
            is_one = False
        if not is_one:
            advice = "`verification-worker message-keys generate` makes one"
            raise ValueError(f'must be a JWK Set in JSON, {{"keys": [...]}}: {advice}')
        return keys

    @field_validator("message_encryption")
    @classmethod
    def _has_keys(cls, value: MessageEncryption, others: ValidationInfo) -> MessageEncryption:
        is_missing = others.data.get("message_keys", "wrong, and named itself") is None
        if value is MessageEncryption.REQUIRED and is_missing:
            raise ValueError("needs MESSAGE_KEYS where it is required")
        return value
