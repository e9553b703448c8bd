"""Overlays of others: two in one cluster, one over this repository as its base, with tracing."""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.deploy.manifests import OVERLAYS, Manifests, rendered, rendered_folder
from tests.e2e.harness import CHECKOUT

KUBERNETES = OVERLAYS.parent
PAGE = (KUBERNETES / "README.md").read_text()
# Where Kubernetes itself keeps what has no namespace.
OF_THE_CLUSTER = {"Namespace"}


def places(manifests: Manifests) -> set[tuple[str, str, str]]:
    """Return kind, namespace and name of each manifest."""
    return {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        for each in manifests.documents
    }


def test_two_deployments_in_one_cluster_share_nothing() -> None:
    production, sandbox = places(rendered("production")), places(rendered("sandbox"))
    assert not production & sandbox
    for kind, namespace, _ in production | sandbox:
        assert bool(namespace) != (kind in OF_THE_CLUSTER), kind
    stores = {
        each["spec"]["secretStoreRef"]["name"]
        for name in ("production", "sandbox")
        for each in rendered(name).of_kind("ExternalSecret")
    }
    assert stores == {"verification", "verification-sandbox"}, "each has secrets of its own"


def overlay_of_the_page(folder: Path) -> Path:
    """Write the two files that the page shows, with this checkout in place of the repository."""
    text = PAGE.partition("## An overlay of your own")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    code = "".join(line[4:] for line in "".join(blocks).splitlines(keepends=True))
    files = re.split(r"^# (\S+\.yaml).*\n", code, flags=re.MULTILINE)[1:]
    base = f"{CHECKOUT}/deploy/kubernetes"
    checkout = re.compile(r"https://\S+//deploy/kubernetes/(\w+)\?ref=\S+")
    for name, content in zip(files[::2], files[1::2], strict=True):
        (folder / name).write_text(checkout.sub(lambda found: f"BASE/{found[1]}", content))
    (folder / "BASE").symlink_to(base)
    for name in ("namespace.yaml", "provider.yaml"):
        (folder / name).write_text((OVERLAYS / "production" / name).read_text())
    return folder


def rendered_with(folder: Path, components: Callable[[list[str]], list[str]]) -> Manifests:
    """Render the page's overlay with what becomes of its components."""
    file = overlay_of_the_page(folder) / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    kustomization["components"] = components(kustomization["components"])
    file.write_text(yaml.safe_dump(kustomization))
    return rendered_folder(folder)


def test_an_overlay_needs_only_the_files_that_the_page_shows(tmp_path: Path) -> None:
    manifests = rendered_folder(overlay_of_the_page(tmp_path))
    assert manifests.settings()["PROVIDER_CALLS_PER_MINUTE"] == "600"
    assert manifests.one("Deployment", "verification-worker")["spec"]["replicas"] == 2
    (worker,) = manifests.pod("worker").containers()
    assert worker["image"].startswith("registry.example.org/verification-worker:")
    assert manifests.of_kind("PrometheusRule")
    kinds = {each["kind"] for each in manifests.documents}
    assert kinds >= {"NetworkPolicy", "ExternalSecret", "CronJob", "Job"}


def test_with_tracing_the_workers_reach_the_collector_and_know_where_it_is(tmp_path: Path) -> None:
    manifests = rendered_with(tmp_path, lambda named: [*named, "BASE/tracing"])
    endpoint = manifests.settings()["OTEL_EXPORTER_OTLP_ENDPOINT"]
    (rule,) = manifests.one("NetworkPolicy", "workers-to-collector")["spec"]["egress"]
    assert endpoint.endswith(f":{rule['ports'][0]['port']}")
    (peer,) = rule["to"]
    namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert f".{namespace}.svc" in endpoint


def test_without_the_component_nothing_needs_the_prometheus_operator(tmp_path: Path) -> None:
    manifests = rendered_with(tmp_path, lambda _: [])
    assert {each["apiVersion"] for each in manifests.documents} == {
        "v1",
        "apps/v1",
        "batch/v1",
        "policy/v1",
        "networking.k8s.io/v1",
        "external-secrets.io/v1",
    }


def test_the_jobs_are_made_anew_by_whatever_applies_them(manifests: Manifests) -> None:
    for job in manifests.of_kind("Job"):
        notes = job["metadata"]["annotations"]
        assert notes["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"
        assert notes["helm.sh/hook-delete-policy"] == "before-hook-creation"
        # What is gone after a day is out of sync from then on.
        assert "ttlSecondsAfterFinished" not in job["spec"]
        assert job["spec"]["activeDeadlineSeconds"] > 0, "or `prepare` might wait for ever"
