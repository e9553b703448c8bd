"""How strictly a request is checked before it is paid for."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from worker.core.checks import CheckPolicy, IdCardCheck, LuhnCheck
from worker.core.request import PortraitFields
from worker.settings.environment import FromEnvironment


class CheckSettings(FromEnvironment):
    """What the worker and `submit` check requests by; both should have the same."""

    max_message_bytes: int = Field(
        1_048_576, ge=1024, le=134_217_728, description="larger messages are dead-lettered unread"
    )
    id_card_check: IdCardCheck = Field(IdCardCheck.STRICT, description="strict, format or off")
    luhn_check: LuhnCheck = Field(LuhnCheck.WARN, description="off, warn or reject")
    portrait_fields: PortraitFields = Field(
        PortraitFields.ID_CARD, description="what goes with a portrait: id_card or bank_card"
    )
    portrait_min_bytes: int = Field(5_000, ge=1, description="smallest image, decoded")
    portrait_max_bytes: int = Field(
        150_000, ge=1, le=10_000_000, description="largest image, decoded"
    )

    @field_validator("portrait_max_bytes")
    @classmethod
    def _leaves_room(cls, most: int, others: ValidationInfo) -> int:
        if most < others.data.get("portrait_min_bytes", 0):
            raise ValueError("must not be below PORTRAIT_MIN_BYTES, or every image is refused")
        return most

    @property
    def check_policy(self) -> CheckPolicy:
        """The strictness of the checks before paying."""
        return CheckPolicy(
            self.id_card_check,
            self.luhn_check,
            self.portrait_fields,
            self.portrait_min_bytes,
            self.portrait_max_bytes,
        )
