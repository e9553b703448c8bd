"""What a person's tools need: the servers, and no secret of the provider."""

from __future__ import annotations

from pydantic import Field

from worker.core.request import Mode
from worker.settings.broker import BrokerSettings
from worker.settings.database import DatabaseSettings
from worker.settings.events import EventSettings


class ToolSettings(BrokerSettings, DatabaseSettings):
    """Broker and database, for tools that look at both."""


class OutboxSettings(ToolSettings, EventSettings):
    """What sends a mode's events."""

    provider_mode: Mode = Field(description="live or sandbox: whose events")
