"""The image at work, as far as that goes without Docker: built, and run without any right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local_ports import free_ports
from tests.deploy.confined import confined, write_protect
from tests.deploy.dockerfile import Image
from tests.deploy.manifests import CHECKOUT, rendered
from tests.e2e.harness import ID_CARD, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS_AT = "/run/secrets/verification"

# The build downloads 40 MB where pip has nothing in its cache, and shares two cores.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Build the image once; a minute where nothing is in pip's cache."""
    with tempfile.TemporaryDirectory(prefix="verification-image-") as folder:
        image = Image(Path(folder) / "root")
        image.root.mkdir()
        image.build()
        # What the last stage does not take along.
        shutil.rmtree(image.root / "build")
        shutil.rmtree(image.root / "opt" / "builder")
        write_protect(image.root)
        yield image
        subprocess.run(["chmod", "-R", "u+w", image.root], check=True)


class Pods:
    """Containers of the sandbox environment: its settings, secrets as files, the image's files."""

    def __init__(
        self, image: Image, secrets: dict[str, str], folder: Path, **settings: str
    ) -> None:
        self._image = image
        for name, value in secrets.items():
            (folder / name).write_text(value)
        of_manifests = rendered("sandbox").settings() | settings
        self._settings = {
            name: value.replace(SECRETS_AT, str(folder)) for name, value in of_manifests.items()
        }

    def start(self, component: str) -> subprocess.Popen[str]:
        """Start what a component's container starts."""
        (container,) = rendered("sandbox").pod(component).containers()
        return self.start_command(
            container.get("command", self._image.entrypoint),
            container.get("args", [] if "command" in container else self._image.command),
        )

    def start_command(self, command: list[str], arguments: list[str]) -> subprocess.Popen[str]:
        """Start a command in the image's folder with the image's environment and the settings."""
        program = str(self._image.root / "opt" / "worker" / "bin" / command[0])
        return subprocess.Popen(
            confined([program, *command[1:], *arguments]),
            cwd=self._image.workdir,
            env={**self._image.environment, **self._settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, component: str) -> str:
        """Run a component to its end, and return what it said."""
        return finished(self.start(component))


def finished(process: subprocess.Popen[str]) -> str:
    """Return what a process said that had to end well."""
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


SECRETS = {
    "provider-access-key": "SANDBOXACCESSKEY",
    "provider-secret-key": "sandbox-secret-key",
    "digest-key": "a key of the tests, of 32 characters or more",
}


def test_the_image_has_the_locked_packages_and_no_installer(image: Image) -> None:
    site = next((image.root / "opt/worker/lib").glob("python3.*/site-packages"))
    installed = {path.name.partition("-")[0].lower() for path in site.glob("*.dist-info")}
    lock = (CHECKOUT / "deploy" / "requirements.txt").read_text()
    locked = {
        name.replace("-", "_").lower()
        for name in re.findall(r"^([A-Za-z0-9-]+)==(?!.*sys_platform)", lock, re.MULTILINE)
    }
    assert installed == locked | {"verification_worker"}
    assert (site / "worker" / "cli" / "app.py").exists()
    assert not (site / "tests").exists()


def test_the_image_for_production_says_what_its_sandbox_lacks(image: Image, tmp_path: Path) -> None:
    process = Pods(image, SECRETS, tmp_path).start("sandbox")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert said.endswith("pip install 'verification-worker[sandbox]'\n")


def test_nothing_can_be_written(image: Image) -> None:
    for place in (image.root, image.workdir, Path("/")):
        done = subprocess.run(confined(["touch", str(place / "written")]), check=False)
        assert done.returncode != 0, place


def test_check_config_reads_the_manifests_settings(image: Image, tmp_path: Path) -> None:
    urls = {"amqp-url": "amqp://u:p@broker/v", "database-url": "postgresql://u:p@database/d"}
    pods = Pods(image, SECRETS | urls, tmp_path)
    said = finished(pods.start_command(image.entrypoint, ["check-config"]))
    for line in (r"TOPOLOGY +check", r"HTTP_PORT +8080", r"AMQP_URL +\(hidden\)"):
        assert re.search(line, said), said
    assert "u:p@" not in said


def test_the_environment_starts_and_verifies_a_person(
    image: Image, amqp_url: str, empty_database: str, tmp_path: Path
) -> None:
    """Migration, topology, sandbox and worker in the manifests' words; then one request."""
    port, at_sandbox = free_ports(2)
    urls = {"amqp-url": amqp_url, "database-url": empty_database}
    address = f"http://127.0.0.1:{at_sandbox}/v1/personal"
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    settings = {"HTTP_PORT": str(port), "PROVIDER_URL": address}
    pods = Pods(image, SECRETS | urls, secrets, **settings)
    assert "Running upgrade" in pods.run("migration")
    assert "the topology is in place" in pods.run("topology")
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "worker", "sandbox", "--port", str(at_sandbox)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    worker = pods.start("worker")
    try:
        until(lambda: asked(port, "/readyz") == "ok\n", seconds=60.0)
        assert "\nverification_parked{" in asked(port, "/metrics"), "what the scaling asks for"
        message = tmp_path / "request.json"
        message.write_text(json.dumps(request("from-the-image", ID_CARD)))
        result = finished(pods.start_command(image.entrypoint, ["submit", str(message)]))
        assert json.loads(result)["outcome"] == "match"
        pods.run("retention")
    finally:
        said = [ended(process) for process in (worker, sandbox)]
    assert worker.returncode == 0, said[0]


def ended(process: subprocess.Popen[str]) -> str:
    """End a process as Kubernetes does, and return what it said."""
    process.terminate()
    try:
        return process.communicate(timeout=60)[0]
    finally:
        process.kill()


def asked(port: int, path: str) -> str:
    """Return what the worker answers; nothing while it does not listen or is not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            body: bytes = answer.read()
    except OSError:
        return ""
    return body.decode()
