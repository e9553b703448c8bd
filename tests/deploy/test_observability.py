"""The alerts and the dashboard in a cluster are the ones in deploy/observability."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from tests.deploy.manifests import CHECKOUT

if TYPE_CHECKING:
    from tests.deploy.manifests import Manifests

OBSERVABILITY = CHECKOUT / "deploy" / "observability"


def test_the_operators_rules_are_the_alerts(manifests: Manifests) -> None:
    alerts = yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())
    rules = manifests.one("PrometheusRule", "verification-worker")["spec"]
    assert rules == alerts, "run deploy/kubernetes/rules"


def test_the_dashboard_is_found_by_its_label(manifests: Manifests) -> None:
    dashboard = manifests.one("ConfigMap", "verification-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    written = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    assert json.loads(dashboard["data"]["dashboard.json"]) == written


def test_the_monitor_scrapes_the_workers_metrics(manifests: Manifests) -> None:
    monitor = manifests.one("PodMonitor", "verification-worker")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics"
    (worker,) = manifests.pod("worker").containers()
    assert endpoint["port"] in {port["name"] for port in worker["ports"]}
    job = manifests.pod("worker").labels[monitor["jobLabel"]]
    assert job == "verification-worker", "what alerts and dashboard call the job"


def test_the_scaling_asks_for_the_workers_of_its_own_namespace(production: Manifests) -> None:
    spec = production.one("ScaledObject", "verification-worker")["spec"]
    (parked,) = (trigger for trigger in spec["triggers"] if trigger["name"] == "parked")
    namespace = production.one("Namespace", "verification")["metadata"]["name"]
    assert f'verification_parked{{namespace="{namespace}"}}' in parked["metadata"]["query"]
