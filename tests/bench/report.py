"""The contest's figures as a table: medians by contestant and column, ours first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of the contest."""

    key: str
    title: str
    digits: int
    best: Callable[[Sequence[float]], float]
    """min or max."""


def table(medians: Mapping[str, Mapping[str, float]], columns: Sequence[Column]) -> str:
    """Return a Markdown table; in brackets how many times ours each peer's figure is."""
    ours = next(iter(medians))
    lines = [
        "| (medians) | " + " | ".join(column.title for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in medians.items():
        cells = []
        for column in columns:
            figure = f"{row[column.key]:,.{column.digits}f}"
            if name == ours:
                cells.append(f"**{figure}**")
            else:
                cells.append(f"{figure} ({row[column.key] / medians[ours][column.key]:.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def leads(medians: Mapping[str, Mapping[str, float]], column: Column) -> bool:
    """Tell whether ours is the best figure of a column."""
    ours = next(iter(medians))
    return medians[ours][column.key] == column.best([row[column.key] for row in medians.values()])
