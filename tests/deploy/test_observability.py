"""The alerts and the dashboard in a cluster are the ones in deploy/observability."""

import json
import re

import yaml

from tests.deploy.manifests import Manifests
from tests.e2e.harness import CHECKOUT

OBSERVABILITY = CHECKOUT / "deploy" / "observability"

# Where overlays/*/monitoring.yaml says that the runbook is.
RUNBOOK = "https://git.example.org/verification-worker/blob/main/deploy/RUNBOOK.md"


def test_the_operators_rules_are_the_alerts_and_their_help_is_a_page(manifests: Manifests) -> None:
    alerts = (OBSERVABILITY / "alerts.yaml").read_text().replace(" RUNBOOK.md#", f" {RUNBOOK}#")
    rules = manifests.one("PrometheusRule", "verification-worker")["spec"]
    assert rules == yaml.safe_load(alerts), "run deploy/kubernetes/rules"


def test_prometheus_selects_what_is_for_it(manifests: Manifests) -> None:
    theirs = [each for each in manifests.documents if "monitoring.coreos" in each["apiVersion"]]
    assert {each["kind"] for each in theirs} == {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
    for each in theirs:
        assert each["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_the_queues_that_are_measured_are_those_of_the_deployment(manifests: Manifests) -> None:
    """Of its own vhost, under its own namespace, which the monitor's job has in its name."""
    monitor = manifests.one("ServiceMonitor", "verification-queues")
    namespace = monitor["metadata"]["namespace"]
    for endpoint in monitor["spec"]["endpoints"]:
        assert endpoint["params"]["vhost"] == [namespace]
        (relabelling,) = endpoint["relabelings"]
        job = f"serviceMonitor/{namespace}/verification-queues/0"
        assert relabelling["sourceLabels"] == ["__tmp_prometheus_job_name"]
        found = re.fullmatch(relabelling["regex"], job)
        assert found is not None
        assert (relabelling["targetLabel"], found[1]) == ("namespace", namespace)


def test_the_dashboard_is_found_by_its_label(manifests: Manifests) -> None:
    dashboard = manifests.one("ConfigMap", "verification-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    written = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    assert json.loads(dashboard["data"]["verification-worker.json"]) == written


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
