"""What single commands need of the settings."""

from __future__ import annotations

from worker.settings.broker import BrokerSettings
from worker.settings.checks import CheckSettings
from worker.settings.database import DatabaseSettings
from worker.settings.digests import DigestSettings
from worker.settings.limits import LimitSettings


class StatusSettings(BrokerSettings, DatabaseSettings, LimitSettings):
    """What `status` needs."""


class EraseSettings(BrokerSettings, DatabaseSettings, DigestSettings):
    """What `erase` needs; MESSAGE_KEYS open encrypted dead letters as well."""


class SubmitSettings(BrokerSettings, CheckSettings):
    """What `submit` needs for a file of many requests."""
