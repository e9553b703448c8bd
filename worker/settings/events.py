"""How result events are published."""

from __future__ import annotations

from pydantic import Field

from worker.core.delivery import EventFormat
from worker.settings.environment import FromEnvironment


class EventSettings(FromEnvironment):
    """What everything that publishes result events goes by: all of it should have the same."""

    event_format: EventFormat = Field(
        EventFormat.PLAIN,
        description="plain, or cloudevents: events carry CloudEvents attributes as headers as well",
    )
