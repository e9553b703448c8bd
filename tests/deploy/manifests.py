"""The manifests of an environment, as kustomize renders them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness import CHECKOUT, run_program

OVERLAYS = CHECKOUT / "deploy" / "kubernetes" / "overlays"
ENVIRONMENTS = ("production", "sandbox")
EXAMPLES = sorted((OVERLAYS.parent / "examples").glob("*.yaml"))
"""Of what others run for us: applied by whoever likes them, by no overlay."""
SETTINGS = "verification-settings"

Document = dict[str, Any]
"""One manifest: apiVersion, kind, metadata, and what belongs to its kind."""


def examples() -> list[Document]:
    """Return all manifests of the examples."""
    return [each for path in EXAMPLES for each in yaml.safe_load_all(path.read_text())]


@dataclass(frozen=True, slots=True)
class Pod:
    """What a workload makes: `owner` is its kind and name, such as Job/verification-migration."""

    owner: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def runs_on(self) -> bool:
        """Whether it serves until somebody stops it, and therefore needs probes."""
        return self.owner.startswith("Deployment/") and self.component != "toolbox"

    @property
    def component(self) -> str:
        """What the network policies know it by."""
        return self.labels["app.kubernetes.io/component"]

    def containers(self) -> list[dict[str, Any]]:
        """Return all its containers, those that only prepare it included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def secrets(self) -> set[str]:
        """Return the names of the Secrets that it mounts."""
        volumes = self.spec.get("volumes", [])
        return {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}


@dataclass(frozen=True, slots=True)
class Manifests:
    """All manifests of one environment."""

    documents: tuple[Document, ...]

    def of_kind(self, kind: str) -> list[Document]:
        """Return the manifests of a kind."""
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str, name: str) -> Document:
        """Return a manifest; a generated name may end in the digest of its content."""
        found = [d for d in self.of_kind(kind) if d["metadata"]["name"].startswith(name)]
        assert len(found) == 1, f"{len(found)} of {kind}/{name}"
        return found[0]

    def settings(self) -> dict[str, str]:
        """Return the settings that every component of ours gets."""
        settings: dict[str, str] = self.one("ConfigMap", SETTINGS)["data"]
        return settings

    def pods(self) -> Iterator[Pod]:
        """Yield what each workload makes."""
        for document in self.documents:
            match document["kind"]:
                case "Deployment" | "Job":
                    template = document["spec"]["template"]
                case "CronJob":
                    template = document["spec"]["jobTemplate"]["spec"]["template"]
                case _:
                    continue
            owner = f"{document['kind']}/{document['metadata']['name']}"
            yield Pod(owner, template["metadata"]["labels"], template["spec"])

    def pod(self, component: str) -> Pod:
        """Return the pod of a component."""
        (found,) = (pod for pod in self.pods() if pod.component == component)
        return found


@cache
def rendered(environment: str) -> Manifests:
    """Render an overlay as `kubectl apply -k` does; nothing is asked of any cluster."""
    return rendered_folder(OVERLAYS / environment)


def rendered_folder(folder: Path) -> Manifests:
    """Render any folder with a kustomization in it."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = run_program(str(kubectl), "kustomize", str(folder))
    assert done.returncode == 0, done.stderr
    # Kustomize says here, too, what it is about to stop to understand.
    assert done.stderr == ""
    return Manifests(tuple(yaml.safe_load_all(done.stdout)))
