"""Whoever is called by an alert finds its section."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() -> None:
    rules = yaml.safe_load((DEPLOY / "observability" / "alerts.yaml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    runbook = (DEPLOY / "RUNBOOK.md").read_text()
    assert re.findall(r"^### (Verification\w+)$", runbook, re.MULTILINE) == alerts
