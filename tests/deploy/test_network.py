"""Who reaches whom, by the network policies: asked as Kubernetes would."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.deploy.manifests import Manifests, Pod, rendered


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a label selector selects something with these labels; {} selects all."""
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for wanted in selector.get("matchExpressions", []):
        assert wanted["operator"] == "In", "the only operator that we use"
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    return True


def policies(manifests: Manifests, pod: Pod, direction: str) -> list[dict[str, Any]]:
    """Return the specs that govern a pod's traffic in a direction, Ingress or Egress."""
    specs = [policy["spec"] for policy in manifests.of_kind("NetworkPolicy")]
    return [
        spec
        for spec in specs
        if direction in spec["policyTypes"] and matches(spec["podSelector"], pod.labels)
    ]


def ways(manifests: Manifests, component: str, direction: str) -> list[tuple[Any, Any]]:
    """Return peer and port of each way that is open to or from a component."""
    other = {"Egress": "to", "Ingress": "from"}[direction]
    return [
        (peer, port["port"])
        for spec in policies(manifests, manifests.pod(component), direction)
        for rule in spec.get(direction.lower(), [])
        for peer in rule[other]
        for port in rule["ports"]
    ]


def namespaces(manifests: Manifests, component: str, direction: str) -> set[tuple[str, Any]]:
    """Return the namespaces and ports that are open to or from a component."""
    return {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port)
        for peer, port in ways(manifests, component, direction)
        if "namespaceSelector" in peer
    }


DNS = ("kube-system", 53)
BROKER = {("rabbitmq", 5671), ("rabbitmq", 5672)}
DATABASE = ("postgresql", 5432)


@pytest.mark.parametrize(
    ("component", "reached"),
    [
        ("worker", {DNS, DATABASE, *BROKER}),
        ("migration", {DNS, DATABASE}),
        ("retention", {DNS, DATABASE}),
        ("toolbox", {DNS, DATABASE, *BROKER}),
        ("topology", {DNS, *BROKER}),
    ],
)
def test_a_component_reaches_the_servers_that_it_needs(
    manifests: Manifests, component: str, reached: set[tuple[str, int]]
) -> None:
    assert namespaces(manifests, component, "Egress") == reached


def test_every_pod_is_under_a_policy_in_both_directions(manifests: Manifests) -> None:
    for pod in manifests.pods():
        for direction in ("Ingress", "Egress"):
            assert policies(manifests, pod, direction), f"{pod.owner} {direction}"


def test_only_monitoring_reaches_the_worker_and_nobody_the_jobs(manifests: Manifests) -> None:
    assert namespaces(manifests, "worker", "Ingress") == {("monitoring", "http")}
    assert len(ways(manifests, "worker", "Ingress")) == 1
    for component in ("migration", "topology", "retention", "toolbox"):
        assert ways(manifests, component, "Ingress") == []


def blocks(manifests: Manifests, component: str) -> list[tuple[Any, Any]]:
    """Return the blocks of addresses, with their ports, that a component reaches, but for DNS."""
    open_ways = ways(manifests, component, "Egress")
    found = [(peer["ipBlock"], port) for peer, port in open_ways if "ipBlock" in peer]
    return [(block, port) for block, port in found if port != DNS[1]]


def test_names_are_asked_for_of_the_clusters_resolver_and_of_link_local_ones(
    manifests: Manifests,
) -> None:
    """NodeLocal DNSCache and the clouds' resolvers; nothing but DNS under such addresses."""
    for pod in manifests.pods():
        found = ways(manifests, pod.component, "Egress")
        local = [(peer["ipBlock"]["cidr"], port) for peer, port in found if "ipBlock" in peer]
        for address in ("169.254.20.10", "169.254.169.253", "fe80::1"):
            ports = {
                port
                for cidr, port in local
                if ip_address(address) in ip_network(cidr) and ip_network(cidr).is_link_local
            }
            assert ports == {53}, pod.owner


def test_workers_reach_the_provider_and_no_inner_address(production: Manifests) -> None:
    ((block, port),) = blocks(production, "worker")
    assert (block["cidr"], port) == ("0.0.0.0/0", 443)
    # Private networks, and where clouds keep a machine's metadata, and with it its credentials.
    for address in ("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200"):
        assert any(ip_address(address) in ip_network(net) for net in block["except"]), address
    assert not any(ip_address("203.0.113.7") in ip_network(net) for net in block["except"])


def test_nothing_else_reaches_the_internet(manifests: Manifests) -> None:
    for pod in manifests.pods():
        if pod.component != "worker":
            assert blocks(manifests, pod.component) == [], pod.owner


def test_the_sandbox_environment_has_no_way_out() -> None:
    sandbox = rendered("sandbox")
    assert blocks(sandbox, "worker") == []
    (way,) = ways(sandbox, "sandbox", "Ingress")
    assert matches(way[0]["podSelector"], sandbox.pod("worker").labels)
    inner = [peer for peer, _ in ways(sandbox, "worker", "Egress") if set(peer) == {"podSelector"}]
    assert [matches(peer["podSelector"], sandbox.pod("sandbox").labels) for peer in inner] == [True]
