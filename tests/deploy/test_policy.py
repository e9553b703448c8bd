"""What every container must and must not be, whatever else changes in the manifests."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.manifests import OVERLAYS, SETTINGS, Manifests, Pod
from tests.e2e import in_process
from worker.settings import Settings
from worker.settings.environment import is_secret

SECRETS_AT = "/run/secrets/verification"
CONTROL = "verification-stage"


def containers(manifests: Manifests) -> list[tuple[Pod, dict[str, Any]]]:
    """Return every container of every workload, with its pod."""
    return [(pod, container) for pod in manifests.pods() for container in pod.containers()]


def test_each_container_has_requests_and_limits(manifests: Manifests) -> None:
    for pod, container in containers(manifests):
        for bound in ("requests", "limits"):
            assert set(container["resources"][bound]) == {"cpu", "memory"}, pod.owner


def test_no_container_has_a_privilege(manifests: Manifests) -> None:
    for pod, container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, pod.owner
        of_all = pod.spec["securityContext"]
        assert of_all["runAsNonRoot"] is True, pod.owner
        assert of_all["runAsUser"] == of_all["runAsGroup"] == 10001, "the image's user"
        assert of_all["seccompProfile"] == {"type": "RuntimeDefault"}, pod.owner
        shared = {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"}
        assert not shared & set(pod.spec), pod.owner
        assert not any("hostPath" in volume for volume in pod.spec.get("volumes", [])), pod.owner


def test_each_namespace_refuses_pods_with_privileges(manifests: Manifests) -> None:
    (namespace,) = manifests.of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for document in manifests.documents:
        if document is not namespace:
            assert document["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_what_runs_on_is_probed(manifests: Manifests) -> None:
    for pod, container in containers(manifests):
        probes = {name for name in container if name.endswith("Probe")}
        wanted = {"startupProbe", "livenessProbe", "readinessProbe"} if pod.runs_on else set()
        assert probes == wanted, pod.owner
        ports = {port["name"] for port in container.get("ports", [])}
        assert {container[probe]["httpGet"]["port"] for probe in probes} <= ports, pod.owner
    (worker,) = manifests.pod("worker").containers()
    assert str(worker["ports"][0]["containerPort"]) == manifests.settings()["HTTP_PORT"]
    paths = [worker[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness")]
    assert (*paths, worker["readinessProbe"]["httpGet"]["path"]) == ("/livez", "/livez", "/readyz")


def test_no_pod_has_a_token_or_other_services_variables(manifests: Manifests) -> None:
    for account in manifests.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for pod in manifests.pods():
        assert pod.spec["automountServiceAccountToken"] is False, pod.owner
        assert pod.spec["enableServiceLinks"] is False, pod.owner


def test_what_a_pod_refers_to_is_there(manifests: Manifests) -> None:
    accounts = names(manifests.of_kind("ServiceAccount"))
    settings = names(manifests.of_kind("ConfigMap"))
    secrets = targets(manifests)
    for pod, container in containers(manifests):
        assert pod.spec["serviceAccountName"] in accounts, pod.owner
        for source in container.get("envFrom", []):
            assert source["configMapRef"]["name"] in settings, pod.owner
        assert pod.secrets() <= set(secrets), pod.owner
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, pod.owner
    for authentication in manifests.of_kind("TriggerAuthentication"):
        for reference in authentication["spec"]["secretTargetRef"]:
            assert reference["key"] in secrets[reference["name"]]
    for scaled in manifests.of_kind("ScaledObject"):
        assert scaled["spec"]["scaleTargetRef"]["name"] in names(manifests.of_kind("Deployment"))
        for trigger in scaled["spec"]["triggers"]:
            if "authenticationRef" in trigger:
                known = names(manifests.of_kind("TriggerAuthentication"))
                assert trigger["authenticationRef"]["name"] in known


def names(documents: Iterable[dict[str, Any]]) -> set[str]:
    return {document["metadata"]["name"] for document in documents}


def targets(manifests: Manifests) -> dict[str, set[str]]:
    """Return the keys of each Secret that an ExternalSecret makes."""
    return {
        external["spec"]["target"]["name"]: {one["secretKey"] for one in external["spec"]["data"]}
        for external in manifests.of_kind("ExternalSecret")
    }


def test_each_setting_is_one_of_the_workers(manifests: Manifests) -> None:
    fields = Settings.model_fields
    known = {name.upper() for name in fields}
    files = {f"{name.upper()}_FILE" for name, field in fields.items() if is_secret(field)}
    assert set(manifests.settings()) <= known | files


def test_each_container_starts_a_command_that_there_is(manifests: Manifests) -> None:
    for pod, container in containers(manifests):
        if "command" in container:
            assert container["command"][0] in ("alembic", "sleep"), pod.owner
        else:
            done = in_process.run((*container.get("args", ["run"]), "--help"), {})
            assert done.returncode == 0, pod.owner


def test_the_settings_fit_together_when_the_secrets_are_files(
    manifests: Manifests, tmp_path: Path
) -> None:
    done = in_process.run(("check-config",), environment(manifests, "worker", tmp_path))
    assert done.returncode == 0, done.stderr
    for line in (r"TOPOLOGY +check", r"HTTP_PORT +8080", r"AMQP_URL +\(hidden\)"):
        assert re.search(line, done.stdout), line
    assert "u:p@" not in done.stdout


def environment(manifests: Manifests, component: str, folder: Path) -> dict[str, str]:
    """Return a component's environment, its secrets as files; nobody answers where they lead."""
    is_live = manifests.settings()["PROVIDER_MODE"] == "live"
    values = {
        "amqp-url": "amqp://u:p@127.0.0.1:1/v",
        "database-url": "postgresql://u:p@127.0.0.1:1/d",
        "digest-key": "a key of the tests, of 32 characters or more",
        "provider-access-key": "AN-ACCOUNT-OF-JD" if is_live else "SANDBOXACCESSKEY",
        "provider-secret-key": "sandbox-secret-key",
    }
    (secret,) = manifests.pod(component).secrets()
    for key in targets(manifests)[secret]:
        (folder / key).write_text(values[key])
    return {
        name: value.replace(SECRETS_AT, str(folder)) for name, value in manifests.settings().items()
    }


# Where a secret might be written down: its own setting, or a URL with a password.
_SECRET_SETTINGS = {
    name.upper() for name, field in Settings.model_fields.items() if is_secret(field)
}
_WITH_PASSWORD = re.compile(r"\b\w+://[^\s/:@]+:[^\s/@]+@")


def test_no_secret_stands_in_a_manifest(manifests: Manifests) -> None:
    assert manifests.of_kind("Secret") == []
    assert not _SECRET_SETTINGS & set(manifests.settings())
    for pod, container in containers(manifests):
        assert "env" not in container, f"{pod.owner}: settings are shared, secrets are files"


@pytest.mark.parametrize(
    "path", sorted(OVERLAYS.parent.rglob("*.yaml")), ids=lambda path: path.name
)
def test_no_file_holds_a_password(path: Any) -> None:
    lines = path.read_text().splitlines()
    # The comments say what such a URL looks like, in words that are nobody's.
    assert not [
        line for line in lines if _WITH_PASSWORD.search(line) and "user:password@" not in line
    ]


def test_each_component_finds_the_secrets_that_it_needs_and_no_others(manifests: Manifests) -> None:
    """The files that X_FILE names are keys of the Secret that the component mounts."""
    everything = {"amqp-url", "database-url", "digest-key"}
    everything |= {"provider-access-key", "provider-secret-key"}
    needs = {
        "worker": everything,
        "retention": {"database-url"},
        "toolbox": {"amqp-url", "database-url", "digest-key"},
        "migration": {"database-url"},
        "topology": {"amqp-url"},
    }
    keys = targets(manifests)
    files = {name: value for name, value in manifests.settings().items() if name.endswith("_FILE")}
    assert set(files.values()) == {f"{SECRETS_AT}/{key}" for key in everything}
    for component, wanted in needs.items():
        pod = manifests.pod(component)
        (secret,) = pod.secrets()
        assert keys[secret] == wanted, component
        mount = pod.containers()[0]["volumeMounts"][0]
        assert (mount["mountPath"], mount["readOnly"]) == (SECRETS_AT, True), component
        volume = pod.spec["volumes"][0]
        # The group's: what mounts it is root, and the worker is not.
        assert volume["secret"]["defaultMode"] == 0o440, component
        assert pod.spec["securityContext"]["fsGroup"] == 10001, component


def test_what_the_jobs_need_comes_before_the_workers(manifests: Manifests) -> None:
    """`kubectl apply -l verification-stage=prepare` alone must make both Jobs run."""
    early = [d for d in manifests.documents if d["metadata"].get("labels", {}).get(CONTROL)]
    kinds = names(d for d in early if d["kind"] == "Job")
    assert kinds == {"verification-migration", "verification-topology"}
    for pod in manifests.pods():
        if pod.owner.startswith("Job/"):
            assert pod.spec["serviceAccountName"] in names(early)
            assert pod.secrets() <= names(d for d in early if d["kind"] == "ExternalSecret")
            (source,) = pod.containers()[0]["envFrom"]
            assert source["configMapRef"]["name"] in names(early)
    assert {"refuse-by-default", "workers-to-broker", "workers-to-database"} <= names(early)
    assert {"Namespace"} <= {d["kind"] for d in early}
    assert not [d for d in early if d["kind"] in ("Deployment", "CronJob", "ScaledObject")]


def test_the_settings_have_another_name_when_they_change(manifests: Manifests) -> None:
    name = manifests.one("ConfigMap", SETTINGS)["metadata"]["name"]
    assert re.fullmatch(rf"{SETTINGS}-[a-z0-9]{{10}}", name), "or nobody restarts for a setting"


def test_retention_never_runs_twice_at_once(manifests: Manifests) -> None:
    assert (
        manifests.one("CronJob", "verification-retention")["spec"]["concurrencyPolicy"] == "Forbid"
    )
    (container,) = manifests.pod("retention").containers()
    assert container["args"] == ["retention"]


def test_selectors_meet_the_worker_and_nothing_else(manifests: Manifests) -> None:
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        selector = manifests.one(kind, "verification-worker")["spec"]["selector"]["matchLabels"]
        met = [pod for pod in manifests.pods() if selector.items() <= pod.labels.items()]
        assert [pod.component for pod in met] == ["worker"], kind
    for spread in manifests.pod("worker").spec["topologySpreadConstraints"]:
        selector = spread["labelSelector"]["matchLabels"]
        assert selector.items() <= manifests.pod("worker").labels.items()
