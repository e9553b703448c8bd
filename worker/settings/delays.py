"""Delays as people write them and as queues are named."""

from __future__ import annotations

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_delay(text: str) -> int:
    """Return the seconds of `5s`, `2m`, `1h` or `1d`."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if not number.isascii() or not number.isdecimal() or unit not in _UNITS or int(number) == 0:
        raise ValueError("must be written as 5s, 2m, 1h or 7d")
    return int(number) * _UNITS[unit]


def delay_name(seconds: int) -> str:
    """Return the name of a delay as queues carry it: the largest unit that divides it."""
    unit = next(unit for unit in ("h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"
