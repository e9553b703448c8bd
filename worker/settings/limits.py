"""The limits of calls that all workers share."""

from __future__ import annotations

from pydantic import Field

from worker.settings.environment import FromEnvironment


class LimitSettings(FromEnvironment):
    """How many calls all workers of one mode may make together."""

    provider_calls_per_minute: int = Field(
        0, ge=0, description="calls of all workers in any minute; 0 = no limit"
    )
    daily_call_budget: int = Field(
        0, ge=0, description="calls of all workers in a day of Asia/Shanghai; 0 = no limit"
    )
