"""What single commands need of the settings."""

from __future__ import annotations

from worker.settings.broker import BrokerSettings
from worker.settings.checks import CheckSettings
from worker.settings.database import DatabaseSettings
from worker.settings.limits import LimitSettings


class StatusSettings(BrokerSettings, DatabaseSettings, LimitSettings):
    """What `status` needs."""


class SubmitSettings(BrokerSettings, CheckSettings):
    """What `submit` needs for a file of many requests."""
