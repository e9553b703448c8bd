"""What the dashboard and the alerts ask, in pieces that a healthy worker has an answer for."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tests.observability.prometheus_server import OBSERVABILITY, load

_COMPARISON = re.compile(r" *(?:==|!=|<=|>=|<|>) -?[\d.]+")
# What joins two parts stands on a line of its own.
_JOINT = re.compile(r"^(?:and|unless) on \([a-z, ]+\)$", re.MULTILINE)
# It looks at full hours alone, and a test's Prometheus is younger.
_SUBQUERY = re.compile(r"\[\w+:\w+\]")
# Metrics of kube-state-metrics: a cluster has them, a worker and a broker alone do not.
_OF_KUBERNETES = re.compile(r"\bkube_")


ALL_NAMESPACES = ".*"
"""What the dashboard's variable is where all are chosen; it meets series without one, too."""


def rules() -> list[dict[str, Any]]:
    """Return all alerting rules, as they stand in the file."""
    return [rule for group in load("alerts.yaml")["groups"] for rule in group["rules"]]


@cache
def cases() -> list[dict[str, Any]]:
    """Return what promtool tests, all as text: `0x60` are sixty zeros and no number."""
    text = (OBSERVABILITY / "alerts_test.yaml").read_text()
    tests: list[dict[str, Any]] = yaml.load(text, yaml.BaseLoader)["tests"]  # noqa: S506
    return tests


def parts_of(expression: str) -> list[str]:
    """Return what an alert compares, without the comparisons."""
    return [part.strip() for part in _JOINT.split(_COMPARISON.sub("", expression))]


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels that ask for something."""
    dashboard = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def all_queries() -> Iterator[tuple[str, str]]:
    """Return who asks, and what: each query of the dashboard and each part of an alert."""
    for panel in panels():
        for target in panel["targets"]:
            asked = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], asked.replace("$namespace", ALL_NAMESPACES)
    for rule in rules():
        for part in parts_of(rule["expr"]):
            if "up{" in part or not _OF_KUBERNETES.search(part):
                yield rule["alert"], _SUBQUERY.sub("[1m:1s]", part)
