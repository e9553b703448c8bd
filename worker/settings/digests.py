"""The keys of the digests: the current one, and those that rows may still stand under."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from worker.core.digests import Digests
from worker.settings.environment import FromEnvironment

_LEAST = 32


class DigestSettings(FromEnvironment):
    """What the commands that digest ID numbers need."""

    digest_key: SecretStr = Field(
        min_length=_LEAST, description="secret of at least 32 characters for the subject digests"
    )
    digest_key_fallbacks: SecretStr | None = Field(
        None, description="keys of DIGEST_KEY's rotation that rows may stand under, one per line"
    )

    @field_validator("digest_key_fallbacks")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if any(len(key) < _LEAST for key in _lines(value)):
            raise ValueError(f"must be one key of at least {_LEAST} characters per line")
        return value

    @property
    def digests(self) -> Digests:
        """The digests under all keys, the current one first; a key that is named twice is one."""
        keys = [self.digest_key.get_secret_value(), *_lines(self.digest_key_fallbacks)]
        return Digests(*(key.encode() for key in dict.fromkeys(keys)))


def _lines(secret: SecretStr | None) -> list[str]:
    lines = [] if secret is None else secret.get_secret_value().splitlines()
    return [line for line in lines if line.strip()]
