"""Three private RabbitMQ nodes in one cluster, and one address in front of them."""

from __future__ import annotations

import json
import secrets
from typing import Any
from urllib.parse import quote

import requests

from local_broker import Broker
from local_ports import LOOPBACK, is_taken
from local_process import Lifetime, Process, Workspace
from local_programs import program
from tests.chaos.proxy import Proxy, address
from tests.e2e.harness import until

# The fewest nodes of which one may die: two are still a majority.
_NODES = 3


def _discovery(nodes: list[str]) -> str:
    """Return the lines by which a node finds those that it joins when it first starts."""
    lines = ["cluster_formation.peer_discovery_backend = classic_config"]
    for number, node in enumerate(nodes, 1):
        lines.append(f"cluster_formation.classic_config.nodes.{number} = {node}@localhost")
    return "\n".join([*lines, ""])


class Cluster(Lifetime):
    """Nodes to kill one by one; leaving `with Cluster()` ends them, their epmd and their data."""

    def __init__(self) -> None:
        self._workspace = Workspace("cluster", ports=1)
        (self._epmd_port,) = self._workspace.ports
        cookie = secrets.token_hex(20)
        names = [f"verification-{number}" for number in range(1, _NODES + 1)]
        # The first names only itself, and the others start when it runs: nodes that start together
        # wait for each other's lock, and the first to get it looks for the others in vain, for 5 s.
        self.nodes = [
            Broker(
                node=name,
                epmd=self._epmd_port,
                cookie=cookie,
                configuration=_discovery(names if number else [name]),
            )
            for number, name in enumerate(names)
        ]

    def start(self) -> None:
        """Start all nodes; return when each says that all of them run."""
        command = [program("epmd"), "-port", str(self._epmd_port), "-address", LOOPBACK]
        Process("epmd", command, workspace=self._workspace, environment={})
        self.nodes[0].start()
        for node in self.nodes[1:]:
            node.launch()
        self._wait_ready()

    def restore(self) -> None:
        """Start the nodes that were killed; return when each says that all of them run."""
        for node in self.nodes:
            if not answers(node):
                node.launch()
        self._wait_ready()

    def close(self) -> None:
        """End the nodes at once and remove their data."""
        try:
            for node in self.nodes:
                node.close()
        finally:
            self._workspace.close()

    def create_vhost(self, name: str) -> str:
        """Create an empty vhost and return its AMQP URL at the first node.

        Right after the start one such order was never answered (once in ten starts, on 3.10.8);
        a repeat changes nothing and was.
        """
        try:
            return self.nodes[0].create_vhost(name)
        except requests.Timeout:
            return self.nodes[0].create_vhost(name)

    def leader(self, vhost: str, queue: str) -> Broker:
        """Return the node that leads a quorum queue now."""
        place = f"/api/queues/{quote(vhost, safe='')}/{queue}"
        name = until(lambda: api(self.living[0], place).get("leader"))
        return next(node for node in self.nodes if node.node_name == name)

    @property
    def living(self) -> list[Broker]:
        """The nodes that take connections now."""
        return [node for node in self.nodes if answers(node)]

    def _wait_ready(self) -> None:
        for node in self.nodes:
            node.wait_ready()
        until(lambda: all(self._sees_all(node) for node in self.nodes))

    def _sees_all(self, node: Broker) -> bool:
        seen = api(node, "/api/nodes?columns=name,running")
        return len(seen) == _NODES and all(each["running"] for each in seen)


class Front(Proxy):
    """One address for several nodes: a new connection goes to the first of them that answers.

    It is what a load balancer or a Kubernetes service is to a worker, which knows one address.
    """

    def __init__(self, *nodes: Broker) -> None:
        self._nodes = nodes
        super().__init__(nodes[0].url)

    def destination(self) -> tuple[str, int]:
        """Return the address of the first node that answers."""
        return address(next((each for each in self._nodes if answers(each)), self._nodes[0]).url)


def api(node: Broker, path: str) -> Any:
    """Return what a node's management interface answers to a GET."""
    return json.loads(node.management._call("GET", path))


def answers(node: Broker) -> bool:
    """Tell whether a node takes connections."""
    return is_taken(address(node.url)[1])
