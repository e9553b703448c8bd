"""The alerts and the dashboard are well-formed, complete, and proven by promtool."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_programs import program
from tests.e2e.harness import PATIENCE
from tests.observability.prometheus_server import OBSERVABILITY
from tests.observability.queries import ALL_NAMESPACES, cases, panels, parts_of, rules
from tests.unit.telemetry.test_metrics import LEVELS
from worker.core.breaker import ParkReason
from worker.telemetry.certificates import CertificateGauge
from worker.telemetry.gauges import Gauges
from worker.telemetry.metrics import Metrics

NAMES = [rule["alert"] for rule in rules()]


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [program("promtool"), *arguments],
        cwd=OBSERVABILITY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_configuration_are_valid() -> None:
    assert f"{len(NAMES)} rules found" in promtool("check", "rules", "alerts.yaml")
    promtool("check", "config", "prometheus.yml")


def assert_true(tests: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Have promtool try each alert's cases beside its own rule: it would evaluate all in each."""
    files = []
    for rule in rules():
        alone, file = folder / f"{rule['alert']}-rule.yaml", folder / f"{rule['alert']}.yaml"
        alone.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
        beside = {"rule_files": [str(alone)], "evaluation_interval": "5m"}
        file.write_text(yaml.safe_dump({**beside, "tests": tests[rule["alert"]]}, width=10_000))
        files.append(str(file))
    assert promtool("test", "rules", *files).count("SUCCESS") == len(files)


def test_every_case_comes_out_as_it_is_written_down(tmp_path: Path) -> None:
    tests: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for test in cases():
        (case,) = test["alert_rule_test"]
        tests[case["alertname"]].append(test)
    assert_true(tests, tmp_path)


def test_every_alert_is_shown_firing_and_silent_with_the_same_series() -> None:
    """Silence for want of data would prove nothing; but of a missing worker data are what lacks."""
    series: dict[tuple[str, bool], set[str]] = {}
    for test in cases():
        (case,) = test["alert_rule_test"]
        names = {each["series"].partition("{")[0] for each in test["input_series"]}
        series.setdefault((case["alertname"], bool(case["exp_alerts"])), set()).update(names)
    assert {name: series[name, True] for name in NAMES} == {
        name: series[name, False] for name in NAMES
    }


@pytest.mark.parametrize("rule", rules(), ids=NAMES)
def test_every_alert_says_what_it_means_and_where_help_stands(rule: dict[str, object]) -> None:
    name, annotations = rule["alert"], rule["annotations"]
    assert isinstance(annotations, dict)
    assert isinstance(name, str)
    assert re.fullmatch(r"(Verification)([A-Z][a-z]+)+", name)
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"RUNBOOK.md#{name.lower()}"
    assert annotations["description"].endswith(".")


def test_every_reason_to_park_has_an_alert() -> None:
    asked = "\n".join(rule["expr"] for rule in rules())
    unasked = [each for each in ParkReason if not re.search(rf'["|]{each}["|]', asked)]
    assert unasked == [ParkReason.DATABASE]  # it has a gauge of its own
    assert "verification_database_up" in asked


def test_every_part_of_an_alert_is_found() -> None:
    assert parts_of('sum(a > 0)\n  > 1\nunless on (n, p)\nmax(b{c=~"d"})\n  == 1\n') == [
        "sum(a)",
        'max(b{c=~"d"})',
    ]


def test_only_metrics_of_the_catalogue_are_asked_for() -> None:
    metrics = Metrics()
    metrics.watch(Gauges(lambda: LEVELS, 1, {}, bulk_budget=1), CertificateGauge({}))
    families = list(metrics.registry.collect())
    known = {each.name for each in families}
    known |= {sample.name for family in families for sample in family.samples}
    text = (OBSERVABILITY / "dashboard.json").read_text() + "".join(
        each["expr"] for each in rules()
    )
    asked = set(re.findall(r"\b(?:verification|process)_[a-z_]+\b", text))
    assert len(asked) > 30
    assert asked - known == set()


def test_the_dashboard_has_one_data_source_and_no_panel_over_another() -> None:
    dashboard = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    assert dashboard["schemaVersion"] >= 41
    source, namespace = dashboard["templating"]["list"]
    assert (source["name"], source["type"]) == ("datasource", "datasource")
    assert (namespace["name"], namespace["allValue"]) == ("namespace", ALL_NAMESPACES)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    sources = {panel["datasource"]["uid"] for panel in panels()}
    assert sources == {"${datasource}"}


def test_every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() -> None:
    """Whoever is called by an alert finds what to do."""
    runbook = (OBSERVABILITY.parent / "RUNBOOK.md").read_text()
    assert re.findall(r"^### (Verification\w+)$", runbook, re.MULTILINE) == NAMES
    assert len(set(NAMES)) == len(NAMES)
