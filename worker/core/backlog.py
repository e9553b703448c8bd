"""How the books of all workers in one mode stand at a moment: numbers, no ids."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one look at the database says. Counts end at a bound: more is as bad."""

    unsent_events: int = 0
    """Results whose event is not known to be sent, those of this second included."""
    oldest_unsent: float = 0.0
    """Seconds since the oldest of them was saved; 0 where there is none."""
    lapsed_requests: int = 0
    """Requests whose lease has lapsed and that nobody has taken over."""
    calls_today: int = 0
    """Against the budget of the day (Asia/Shanghai); counted only where calls are limited."""
    schema_behind: bool = False
    """Whether the schema is older than this worker needs; then nothing else was looked at."""
