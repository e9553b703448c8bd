"""What the dashboard and the alerts ask, in pieces that a healthy worker has an answer for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.observability.prometheus_server import OBSERVABILITY, load

if TYPE_CHECKING:
    from collections.abc import Iterator

# A comparison stands on a line of its own, and so does what joins two.
_COMPARISON = re.compile(r"\s*(==|!=|<=|>=|<|>) -?[\d.]+\s*")
_JOINT = re.compile(r"^(?:and|unless)(?: on \(\))?$", re.MULTILINE)


def rules() -> list[dict[str, Any]]:
    """Return all alerting rules, as they stand in the file."""
    return [
        rule for group in load(OBSERVABILITY / "alerts.yaml")["groups"] for rule in group["rules"]
    ]


def cases() -> list[dict[str, Any]]:
    """Return what promtool tests."""
    tests: list[dict[str, Any]] = load(OBSERVABILITY / "alerts_test.yaml")["tests"]
    return tests


def parts_of(expression: str) -> list[str]:
    """Return what an alert compares, without the comparisons."""
    lines = [line for line in expression.splitlines() if not _COMPARISON.fullmatch(line)]
    return [part.strip() for part in _JOINT.split("\n".join(lines))]


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels that ask for something."""
    dashboard = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def all_queries() -> Iterator[tuple[str, str]]:
    """Return who asks, and what: each query of the dashboard and each part of an alert."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")
    for rule in rules():
        for part in parts_of(rule["expr"]):
            yield rule["alert"], part
