"""The contest's figures as a table: a row for each figure, a column for each contestant."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the contest."""

    key: str
    title: str
    digits: int
    best: Callable[[Sequence[float]], float] = min
    """min or max."""


def table(figures: Mapping[str, Mapping[str, Sequence[float]]], wanted: Sequence[Figure]) -> str:
    """Return a Markdown table of medians; in brackets ours / theirs, its median and its spread."""
    ours = next(iter(figures))
    lines = ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for figure in wanted:
        cells = []
        for name, row in figures.items():
            median = f"{statistics.median(row[figure.key]):,.{figure.digits}f}"
            if name == ours:
                cells.append(f"**{median}**")
                continue
            ratios = sorted(
                mine / theirs
                for mine, theirs in zip(figures[ours][figure.key], row[figure.key], strict=True)
            )
            middle = statistics.median(ratios)
            cells.append(f"{median} ({middle:.2f}; {ratios[0]:.2f} to {ratios[-1]:.2f})")
        lines.append(f"| {figure.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def leads(figures: Mapping[str, Mapping[str, Sequence[float]]], figure: Figure) -> bool:
    """Tell whether ours is the best median of a figure."""
    medians = [statistics.median(row[figure.key]) for row in figures.values()]
    return medians[0] == figure.best(medians)
