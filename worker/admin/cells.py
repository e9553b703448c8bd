"""How a value is written for people, in a terminal or on a page, and how they write a time."""

import re
from datetime import UTC, datetime, timedelta

from worker.contract.names import rfc3339

Cell = str | int | float | bool | datetime | timedelta | None
"""What may stand in a row; a `timedelta` is an age or a duration, seconds in JSON."""

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def shown(cell: Cell) -> str:
    """Return a cell as a table has it; nothing in it can move the cursor or colour a terminal."""
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case datetime():
            return rfc3339(cell, "seconds")
        case timedelta():
            return duration(cell)
        case _:
            text = str(cell)
            return text if text.isprintable() else ascii(text)[1:-1]


def duration(length: timedelta) -> str:
    """Return a length of time in its two largest units: `3d 4h`, `12m 5s`, `8s`, `0.4s`."""
    seconds = length.total_seconds()
    if seconds < 0:
        return f"-{duration(-length)}"
    if seconds < 10:
        return f"{seconds:.1f}s"
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count)


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long ago it was: not in the future, where the database's clock is ahead."""
    return "-" if moment is None else duration(max(now - moment, timedelta()))


def read_moment(text: str, now: datetime) -> datetime:
    """Return the time that somebody wrote, UTC where it names no zone; `2h` is two hours ago.

    Raises ValueError with what it must be.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        words = "must be a time such as 2026-11-27T08:00:00Z, or 2h or 3d for so long ago"
        raise ValueError(words) from None
