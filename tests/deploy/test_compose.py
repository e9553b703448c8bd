"""deploy/compose.yaml: two servers without a profile, all of it with them."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import rendered
from tests.e2e.harness import CHECKOUT, run_program
from worker.sandbox.settings import CALL_PATH, SandboxSettings
from worker.settings import Settings

FILE = CHECKOUT / "deploy" / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("sandbox", "migration", "topology", "worker", "console")


def test_without_a_profile_there_are_the_two_servers_of_the_readme() -> None:
    profiles = {name: one.get("profiles") for name, one in SERVICES.items()}
    assert {name for name, of in profiles.items() if of is None} == {"broker", "database"}
    assert {name for name, of in profiles.items() if of == ["worker"]} == {*OURS}


def test_only_this_machine_reaches_a_port() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_each_image_has_a_version() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d", service["image"]), name
    (worker,) = rendered("production").pod("worker").containers()
    version = worker["image"].partition(":")[2]
    images = {name: SERVICES[name]["image"] for name in OURS}
    for name in ("sandbox", "console"):
        assert images.pop(name) == f"verification-worker:{version}-{name}"
    assert set(images.values()) == {f"verification-worker:{version}"}


@pytest.mark.parametrize("name", OURS)
def test_ours_run_as_confined_as_in_kubernetes(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    build = service["build"]
    assert (FILE.parent / build["context"]).resolve() == CHECKOUT
    assert (CHECKOUT / build["dockerfile"]).exists()


def test_the_components_do_what_their_pods_do() -> None:
    """A manifest's command stands for the entrypoint, its args for the command."""
    manifests = rendered("sandbox")
    for name in ("migration", "topology", "sandbox"):
        (container,) = manifests.pod(name).containers()
        assert SERVICES[name].get("entrypoint") == container.get("command"), name
        assert SERVICES[name]["command"] == container.get("args", []), name
    assert "command" not in SERVICES["worker"], "the image's own"


def test_the_worker_waits_for_the_schema_and_the_queues() -> None:
    waits = SERVICES["worker"]["depends_on"]
    for job in ("migration", "topology"):
        assert waits[job]["condition"] == "service_completed_successfully"
        assert "restart" not in SERVICES[job]
    for job, server in (("migration", "database"), ("topology", "broker")):
        assert SERVICES[job]["depends_on"][server]["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[server]


def test_a_stopping_worker_has_as_long_as_in_kubernetes() -> None:
    seconds = rendered("production").pod("worker").spec["terminationGracePeriodSeconds"]
    assert SERVICES["worker"]["stop_grace_period"] == f"{seconds}s"


def test_the_settings_are_the_workers_and_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SERVICES["worker"]["environment"]
    assert {name.lower() for name in settings} <= set(Settings.model_fields)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    loaded = Settings()
    sandbox = SandboxSettings()
    assert loaded.provider_access_key.get_secret_value() == sandbox.access_key
    assert loaded.provider_secret_key.get_secret_value() == sandbox.secret_key
    port = SERVICES["sandbox"]["command"][-1]
    assert loaded.provider_url == f"http://sandbox:{port}{CALL_PATH}"
    assert SERVICES["worker"]["ports"] == [f"127.0.0.1:8080:{loaded.http_port}"]


def test_what_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (FILE.parent / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


def test_prometheus_scrapes_the_worker() -> None:
    written = yaml.safe_load((FILE.parent / "observability" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in written["scrape_configs"]}
    (found,) = jobs["verification-worker"]["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert str(found["port"]) == SERVICES["worker"]["environment"]["HTTP_PORT"]


def test_the_dashboards_source_is_provisioned() -> None:
    folder = FILE.parent / "observability/grafana"
    (source,) = yaml.safe_load((folder / "datasources.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards.yaml").read_text())["providers"]
    targets = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    place = provider["options"]["path"]
    assert [target for target in targets if target.startswith(f"{place}/")]


RECORDER = """#!/bin/sh
printf '%s\\n' "$*" >>{log}
case $1 in --version) echo podman version 5.0.0 ;; ps) echo '[]' ;; esac
"""


def test_podman_compose_mounts_and_confines_all_and_the_worker_waits(tmp_path: Path) -> None:
    """There is no registry here to pull the servers from: podman only writes down its orders."""
    podman, log = tmp_path / "podman", tmp_path / "log"
    podman.write_text(RECORDER.format(log=log))
    podman.chmod(0o755)
    compose = [str(Path(sys.executable).with_name("podman-compose")), "--file", str(FILE)]
    profiles = ["--profile", "worker", "--profile", "monitoring"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run_program(*compose, *profiles, "up", "--build", "--detach", environment=path)
    assert done.returncode == 0, done.stderr
    orders = log.read_text().splitlines()
    made = {order.split("_")[1]: order for order in orders if order.startswith("create ")}
    assert made.keys() == SERVICES.keys()
    for name, service in SERVICES.items():
        mounted = [volume.split(":")[1] for volume in service.get("volumes", [])]
        assert all(target in made[name] for target in mounted)
        assert "configs" not in service, "podman-compose says nothing, and does nothing"
    assert all("--read-only" in made[name] and "--cap-drop ALL" in made[name] for name in OURS)
    assert sum(order.startswith("build ") for order in orders) == len(OURS)
    before = orders[: orders.index("start verification_worker_1")]
    waits = [set(order.split()) for order in before if order.startswith("wait ")]
    jobs = {"--condition=stopped", "verification_migration_1", "verification_topology_1"}
    assert any(jobs <= words for words in waits)
