"""Draws the contest's figures; runs in the peers' virtualenv, which has matplotlib.

python -m tests.bench.picture figures.json contest.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "contest"  # the same figures, the same file
mpl.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402  # after the choice of the backend

_OURS, _PEER = "#1565c0", "#b0bec5"


def draw(figures: dict[str, dict[str, float]], titles: dict[str, str], picture: Path) -> None:
    """Write one panel of bars for each column; ours is the first row."""
    names = list(figures)
    shown, axes = plt.subplots(1, len(titles), figsize=(3 * len(titles), 0.45 * len(names) + 0.8))
    for number, (axis, (key, title)) in enumerate(zip(axes, titles.items(), strict=True)):
        values = [figures[name][key] for name in names]
        colours = [_OURS] + [_PEER] * (len(names) - 1)
        bars = axis.barh(range(len(names)), values, color=colours)
        labels = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values]
        axis.bar_label(bars, labels, padding=2, fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.set_yticks(range(len(names)), names if number == 0 else [""] * len(names), fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.25)
        axis.set_xticks([])
        for side in ("top", "right", "bottom"):
            axis.spines[side].set_visible(False)
    shown.tight_layout()
    shown.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    _document = json.loads(Path(sys.argv[1]).read_text())
    draw(_document["medians"], _document["titles"], Path(sys.argv[2]))
