"""What messages are checked by, opened with and published as: all programs should have the same."""

from enum import StrEnum

import orjson
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from worker.core.checks import CheckPolicy, IdCardCheck, LuhnCheck, NameCheck
from worker.core.delivery import EventFormat
from worker.core.request import PortraitFields
from worker.settings.environment import FromEnvironment


class CheckSettings(FromEnvironment):
    """What the worker and `submit` check requests by; both should have the same."""

    max_message_bytes: int = Field(1_048_576, ge=1024, le=134_217_728)
    """larger messages are dead-lettered unread"""
    id_card_check: IdCardCheck = IdCardCheck.STRICT
    """strict, format or off"""
    luhn_check: LuhnCheck = LuhnCheck.WARN
    """off, warn or reject"""
    name_check: NameCheck = NameCheck.HAN
    """han, latin (names in Latin letters as well) or off"""
    portrait_fields: PortraitFields = PortraitFields.ID_CARD
    """what goes with a portrait: id_card or bank_card"""
    portrait_min_bytes: int = Field(5_000, ge=1)
    """smallest image, decoded"""
    portrait_max_bytes: int = Field(150_000, ge=1, le=10_000_000)
    """largest image, decoded"""

    @field_validator("portrait_max_bytes")
    @classmethod
    def _leaves_room(cls, most: int, others: ValidationInfo) -> int:
        if most < others.data.get("portrait_min_bytes", 0):
            raise ValueError("must not be below PORTRAIT_MIN_BYTES, or every image is refused")
        return most

    @property
    def check_policy(self) -> CheckPolicy:
        """The strictness of the checks before paying."""
        sizes = (self.portrait_min_bytes, self.portrait_max_bytes)
        checks = (self.id_card_check, self.luhn_check, self.portrait_fields)
        return CheckPolicy(*checks, *sizes, self.name_check)


class MessageEncryption(StrEnum):
    """What is made of raw messages."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class MessageSettings(FromEnvironment):
    """What the worker and the tools that look into messages open them by."""

    message_keys: SecretStr | None = None
    """JWK Set of private keys for encrypted messages, the current one first"""
    message_encryption: MessageEncryption = MessageEncryption.OPTIONAL
    """optional; required: raw messages are refused"""

    @field_validator("message_keys")
    @classmethod
    def _is_a_set(cls, keys: SecretStr | None) -> SecretStr | None:
        """See that it is JSON of that form: the keys themselves are read by who has a use for them.

        Their library takes longer to load than all the rest of a command.
        """
        try:
            is_one = keys is None or isinstance(orjson.loads(keys.get_secret_value())["keys"], list)
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


class EventSettings(FromEnvironment):
    """What everything that publishes result events goes by: all of it should have the same."""

    event_format: EventFormat = EventFormat.PLAIN
    """plain, or cloudevents: events carry CloudEvents attributes as headers as well"""
