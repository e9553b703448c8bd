"""Delays as people write them and as queues are named."""

from __future__ import annotations

_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_delay(text: str) -> int:
    """Return the seconds of `5s`, `2m` or `1h`."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if not number.isascii() or not number.isdecimal() or unit not in _UNITS or int(number) == 0:
        raise ValueError("must be delays such as 5s,30s,2m,10m,30m")
    return int(number) * _UNITS[unit]


def delay_name(seconds: int) -> str:
    """Return the name of a delay as queues carry it: the largest unit that divides it."""
    unit = next(unit for unit in ("h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"
