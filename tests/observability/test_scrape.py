"""A real Prometheus scrapes a real worker, and its probes are asked."""

import itertools
from typing import Any

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from local_broker import Broker
from local_ports import LOOPBACK, free_ports
from local_stack import Servers
from tests.deploy.manifests import rendered
from tests.e2e.harness import Stack, free_port, request, until
from tests.observability.prometheus_server import Prometheus
from tests.observability.queries import all_queries, rules

BEHIND = "the schema is not at head: run `alembic upgrade head`"


@pytest.mark.timeout(600)
def test_every_query_of_the_dashboard_and_of_every_alert_has_an_answer(
    stack: Stack, servers: Servers
) -> None:
    """A little load meanwhile; the worker is well, so that no alert fires."""
    assert isinstance(servers.broker, Broker), "the metrics of its own broker: unset AMQP_URL"
    published, port = itertools.count(), free_port()
    settings = {
        "DAILY_CALL_BUDGET": "100000",
        "BULK_DAILY_CALL_BUDGET": "50000",
        "CLEAR_AFTER_DAYS": "1",
        "PROVIDER_CA_FILE": DEFAULT_CA_BUNDLE_PATH,  # any certificates
    }
    stack.start_worker(HTTP_PORT=port, **settings)
    targets = {
        "verification-worker": [f"{LOOPBACK}:{port}"],
        "rabbitmq": [servers.broker.metrics_address],
    }
    with Prometheus(targets) as prometheus:
        left: list[tuple[str, str]] = []

        def all_are_answered() -> bool:
            stack.publish(request(f"observed-{next(published)}"))
            left[:] = [(who, what) for who, what in all_queries() if not prometheus.query(what)]
            return not left

        try:
            until(all_are_answered)
        except TimeoutError:
            raise AssertionError(f"no answer: {left}") from None
        found = prometheus.query('sum(verification_messages_settled_total{outcome="match"})')
        assert 0 < float(found[0]["value"][1]) <= next(published)
        alerts = prometheus.alerts()
    assert set(alerts) == {rule["alert"] for rule in rules()}
    assert {rule["health"] for rule in alerts.values()} == {"ok"}
    assert [name for name, rule in alerts.items() if rule["state"] == "firing"] == []


def as_the_operator_has_it(monitor: dict[str, Any], vhost: str, target: str) -> dict[str, Any]:
    """Return the job that the Prometheus operator makes of a ServiceMonitor's first endpoint.

    Its first relabelling keeps the job's name, as its documentation has it.
    """
    endpoint, name = monitor["spec"]["endpoints"][0], monitor["metadata"]
    keep = {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"}
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    more = [
        {words.get(key, key): value for key, value in each.items()}
        for each in endpoint["relabelings"]
    ]
    return {
        "job_name": f"serviceMonitor/{name['namespace']}/{name['name']}/0",
        "metrics_path": endpoint["path"],
        "params": {**endpoint["params"], "vhost": [vhost]},
        "static_configs": [{"targets": [target], "labels": {"namespace": "rabbitmq"}}],
        "relabel_configs": [keep, *more],
    }


def test_two_deployments_on_one_broker_are_told_apart(stack: Stack, servers: Servers) -> None:
    """One has a worker and measured queues; the other one's worker is gone."""
    assert isinstance(servers.broker, Broker), "the metrics of its own broker: unset AMQP_URL"
    port, (nobody,) = free_port(), free_ports(1)
    stack.start_worker(HTTP_PORT=port)
    monitor = rendered("production").one("ServiceMonitor", "verification-queues")
    queues = as_the_operator_has_it(monitor, stack.vhost, servers.broker.metrics_address)
    workers = {
        "job_name": "workers",
        "static_configs": [
            {"targets": [f"{LOOPBACK}:{where}"], "labels": {"namespace": which}}
            for which, where in (("verification", port), ("another", nobody))
        ],
        "relabel_configs": [{"target_label": "job", "replacement": "verification-worker"}],
    }
    firing = {rule["alert"]: rule["expr"] for rule in rules()}
    with Prometheus({}, (queues, workers)) as prometheus:
        asked = 'rabbitmq_detailed_queue_messages_ready{queue="verification.requests"}'
        (found,) = until(lambda: prometheus.query(asked))
        assert (found["metric"]["namespace"], found["metric"]["vhost"]) == (
            "verification",
            stack.vhost,
        )
        until(lambda: len(prometheus.query("up")) == 3)

        def ill(alert: str) -> list[dict[str, str]]:
            return [each["metric"] for each in prometheus.query(firing[alert])]

        # Who is busy for a second is not seen in that second.
        until(lambda: ill("VerificationNoWorker") == [{"namespace": "another"}])
        until(lambda: ill("VerificationQueuesUnseen") == [])


# Probes.


def test_a_worker_whose_schema_is_too_old_is_alive_and_not_ready(stack: Stack) -> None:
    stack.as_owner("UPDATE verification.alembic_version SET version_num = '0003'")
    worker = stack.start_worker(HTTP_PORT=free_port())
    assert until(lambda: (said := worker.asked("/readyz"))[0] == 503 and said) == (503, BEHIND)
    assert worker.asked("/livez") == (200, "ok")
    assert "verification_schema_behind 1.0" in worker.asked("/metrics")[1]
    assert worker.stop() == 0
