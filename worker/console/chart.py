"""Bars by hour, stacked by kind: where each stands in a picture of 24 columns. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.store.overview import Hours

HOURS = 24
WIDTH, HEIGHT = 720, 140
_COLUMN = WIDTH // HOURS
_GAP = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """One piece of a column."""

    x: int
    y: float
    width: int
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, and the same as a table: a row for each hour that is not empty."""

    kinds: tuple[str, ...]
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[int, datetime], ...]
    """Where each sixth hour stands."""
    top: int
    """What a column of full height counts."""
    rows: tuple[tuple[datetime, tuple[int, ...]], ...]
    total: int


def chart(hours: Hours, kinds: Sequence[str]) -> Chart:
    """Lay the counts out; kinds that did not occur are left out."""
    times = [hours.last - timedelta(hours=ago) for ago in reversed(range(HOURS))]
    seen = [kind for kind in kinds if any(hours.counts.get((at, kind)) for at in times)]
    rows = [(at, tuple(hours.counts.get((at, kind), 0) for kind in seen)) for at in times]
    top = _round(max(sum(counts) for _, counts in rows))
    bars = []
    for place, (_, counts) in enumerate(rows):
        y = float(HEIGHT)
        for kind, count in zip(seen, counts, strict=True):
            height = round(HEIGHT * count / top, 1)
            y = round(y - height, 1)
            if count:
                bars.append(Bar(place * _COLUMN + _GAP // 2, y, _COLUMN - _GAP, height, kind))
    ticks = [(place * _COLUMN, at) for place, at in enumerate(times) if at.hour % 6 == 0]
    filled = tuple(row for row in rows if any(row[1]))
    total = sum(sum(counts) for _, counts in rows)
    return Chart(tuple(seen), tuple(bars), tuple(ticks), top, filled, total)


def _round(most: int) -> int:
    """Return a round number that is as large or a little larger."""
    scale = int("1".ljust(len(str(most)), "0"))
    return next(step * scale for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * scale >= most)
