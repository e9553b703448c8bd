"""How settings are shown to people: all of them, with their meaning, and no secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.settings.environment import is_secret
from worker.settings.values import delay_name

if TYPE_CHECKING:
    from worker.settings.worker import Settings

_DURATIONS = ("reuse_results_for", "give_up_after")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting's variable, its value as it is written, and what it means."""

    name: str
    value: str | None
    """None: not set, and without a default."""
    is_default: bool
    meaning: str


def show(settings: Settings) -> list[ShownSetting]:
    """Return all settings, secrets hidden."""
    return [
        ShownSetting(
            name.upper(),
            value := _value(settings, name, hidden=is_secret(field)),
            value is not None and name not in settings.model_fields_set,
            field.description or "",
        )
        for name, field in type(settings).model_fields.items()
    ]


def _value(settings: Settings, name: str, *, hidden: bool) -> str | None:
    value = getattr(settings, name)
    if value is None:
        return None
    if hidden:
        return "(hidden)"
    if name == "retry_delays":
        return ",".join(map(delay_name, value))
    if name in _DURATIONS and value:
        return delay_name(value)
    return str(value) or None
