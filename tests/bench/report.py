"""The contest's figures as a table, a row for each and a column for each contestant; as bars."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the contest."""

    key: str
    title: str
    digits: int


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


_NAMES, _PANEL, _BAR, _ROW = 160, 220, 140, 24
"""Widths and height in pixels: of the names, a panel, its longest bar, and a row."""


def picture(figures: Mapping[str, Mapping[str, Sequence[float]]], wanted: Sequence[Figure]) -> str:
    """Return an SVG of medians: a panel of bars for each figure; ours is the first row."""
    width, height = _NAMES + _PANEL * len(wanted), _ROW * (len(figures) + 1) + 8
    svg = f'svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    lines = [f'<{svg} font-family="sans-serif" font-size="12">']
    lines.append('<rect width="100%" height="100%" fill="#fff"/>')
    lines += [
        f'<text x="{_NAMES - 8}" y="{_ROW * row + 16}" text-anchor="end">{escape(name)}</text>'
        for row, name in enumerate(figures, 1)
    ]
    for left, figure in zip(range(_NAMES, width, _PANEL), wanted, strict=True):
        lines.append(f'<text x="{left}" y="16">{escape(figure.title)}</text>')
        medians = [statistics.median(row[figure.key]) for row in figures.values()]
        for row, median in enumerate(medians, 1):
            length, top = _BAR * median / max(medians), _ROW * row
            colour = "#1565c0" if row == 1 else "#b0bec5"
            lines.append(
                f'<rect x="{left}" y="{top}" width="{length:.1f}" height="20" fill="{colour}"/>'
                f'<text x="{left + length + 4:.1f}" y="{top + 15}">'
                f"{median:,.{figure.digits}f}</text>"
            )
    return "\n".join([*lines, "</svg>", ""])
