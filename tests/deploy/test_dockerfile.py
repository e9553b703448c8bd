"""The Dockerfile's rules, and what a build would see."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy import dockerfile
from tests.deploy.manifests import CHECKOUT, rendered

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", dockerfile.DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_base_is_the_slim_python_that_the_tests_and_the_lock_have() -> None:
    tested = PROJECT["requires-python"].removeprefix(">=")
    for base in dockerfile.of("FROM"):
        assert base.split()[0] == f"python:{tested}-slim-bookworm"
    assert f"--python-version {tested}" in (CHECKOUT / "deploy/local/lock").read_text()


def test_no_shell_stands_between_kubernetes_and_the_worker() -> None:
    assert dockerfile.of("ENTRYPOINT") == ['["verification-worker"]']
    assert dockerfile.of("CMD") == ['["run"]']
    assert dockerfile.of("STOPSIGNAL") == ["SIGTERM"]


def test_the_user_is_a_number_and_not_roots() -> None:
    (user,) = dockerfile.of("USER")
    uid, gid = user.split(":")
    security = rendered("production").pod("worker").spec["securityContext"]
    assert (int(uid), int(gid)) == (security["runAsUser"], security["runAsGroup"])
    assert int(uid) >= 10000
    words = [one.word for one in dockerfile.instructions()]
    assert words.index("USER") > max(n for n, word in enumerate(words) if word == "COPY")


def test_kubernetes_alone_asks_for_health() -> None:
    assert dockerfile.of("HEALTHCHECK") == []


def test_nothing_is_installed_without_a_hash_or_from_elsewhere() -> None:
    steps = [step for run in dockerfile.of("RUN") for step in run.split("&&")]
    pip = [step for step in steps if re.search(r"\b(install|wheel) ", step)]
    assert len(pip) == 4
    for step in pip:
        assert "--require-hashes" in step or "--no-index" in step, step
        assert "--no-deps" in step, step
    assert not [step for step in steps if re.search(r"\b(curl|wget|apt-get|git)\b", step)]
    assert dockerfile.of("ADD") == []


def test_python_says_at_once_what_it_says_and_writes_no_bytecode() -> None:
    said = " ".join(dockerfile.of("ENV"))
    for variable in ("PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"):
        assert variable in said


def test_the_image_says_what_it_is() -> None:
    (labels,) = dockerfile.of("LABEL")
    for label in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert f"VERSION={PROJECT['version']}" in dockerfile.of("ARG")


def test_a_build_sees_the_sources_and_nothing_else() -> None:
    seen = {path.parts[0] for path in dockerfile.context()}
    assert seen == {"README.md", "alembic.ini", "deploy", "migrations", "pyproject.toml", "worker"}
    deploy = {str(path) for path in dockerfile.context() if path.parts[0] == "deploy"}
    assert deploy == {
        "deploy/requirements.txt",
        "deploy/requirements-sandbox.txt",
        "deploy/requirements-build.txt",
    }
    assert not [path for path in dockerfile.context() if path.suffix == ".pyc"]


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-sandbox.txt", "requirements-build.txt"]
)
def test_the_locks_name_versions_hashes_and_no_index(name: str) -> None:
    text = (CHECKOUT / "deploy" / name).read_text()
    packages = re.findall(r"^[a-z0-9-]+==\S+.*\\$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert packages == lines
    assert "index" not in text
    assert "://" not in text
