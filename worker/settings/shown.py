"""Settings as `check-config` prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.settings.delays import delay_name
from worker.settings.environment import is_secret

if TYPE_CHECKING:
    from worker.settings.worker import Settings


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as `check-config` prints it."""

    name: str
    value: str
    default: bool
    description: str


def show(settings: Settings) -> list[Shown]:
    """Return all settings for people to read, secrets hidden."""
    rows = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if is_secret(field):
            text = "" if value is None else "(hidden)"
        elif name == "retry_delays":
            text = ",".join(delay_name(delay) for delay in value)
        elif name == "reuse_results_for":
            text = delay_name(value) if value else "0"
        else:
            text = "" if value is None else str(value)
        rows.append(
            Shown(
                name.upper(), text, name not in settings.model_fields_set, field.description or ""
            )
        )
    return rows
