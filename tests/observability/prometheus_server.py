"""A private Prometheus that scrapes as `deploy/observability/prometheus.yml` has it."""

import json
import os
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import yaml

from local_ports import LOOPBACK
from local_process import PrivateServer, Process
from local_programs import program
from tests.e2e.harness import CHECKOUT

OBSERVABILITY = CHECKOUT / "deploy" / "observability"


class Prometheus(PrivateServer):
    """Runs while it is entered. `targets` are the addresses of each job, as host:port.

    `more` are jobs beside those of the file, as Prometheus has them.
    """

    name = "Prometheus"

    def __init__(
        self, targets: Mapping[str, list[str]], more: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(durable=True)
        self._targets = targets
        self._more = more

    def _prepare(self) -> None:
        shutil.copy(OBSERVABILITY / "alerts.yaml", self.directory)
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(self._configuration()))

    def _started(self) -> Process:
        command = [
            program("prometheus"),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--log.level=warn",
        ]
        environment = {"PATH": os.environ["PATH"]}
        return Process(self.name, command, workspace=self.workspace, environment=environment)

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return what a query finds now. An error in it fails the test."""
        found: list[dict[str, Any]] = self._ask(f"query?{urlencode({'query': query})}")["result"]
        return found

    def alerts(self) -> dict[str, dict[str, Any]]:
        """Return all alerting rules by name, with their health and state."""
        groups = self._ask("rules?type=alert")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def _ask(self, what: str) -> Any:
        address = f"http://{LOOPBACK}:{self.port}/api/v1/{what}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return json.load(answer)["data"]

    def _configuration(self) -> dict[str, Any]:
        """Return the deployed configuration with our targets in it; it looks every second."""
        configuration: dict[str, Any] = load("prometheus.yml")
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job in configuration["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": self._targets.get(job["job_name"], [])}]
        configuration["scrape_configs"] += self._more
        return configuration

    def _answers(self) -> bool:
        address = f"http://{LOOPBACK}:{self.port}/-/ready"
        with suppress(OSError), urllib.request.urlopen(address, timeout=60):
            return True
        return False


def load(name: str) -> Any:
    """Return what is in a YAML file of `deploy/observability`."""
    return yaml.safe_load((OBSERVABILITY / name).read_text())
