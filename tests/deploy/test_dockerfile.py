"""The rules that the Dockerfile keeps, as they can be read in it; nothing is built here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifests import CHECKOUT, rendered

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order: the word, and the rest on one line."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    whole = "\n".join(lines).replace("\\\n", " ")
    found = (" ".join(line.split()).partition(" ") for line in whole.splitlines() if line.strip())
    return [(word, rest) for word, _, rest in found]


def of(word: str) -> list[str]:
    """Return what follows each instruction of a kind."""
    return [rest for each, rest in instructions() if each == word]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_base_is_the_slim_python_that_the_tests_and_the_lock_have() -> None:
    tested = PROJECT["requires-python"].removeprefix(">=")
    assert {base.split()[0] for base in of("FROM")} == {f"python:{tested}-slim-bookworm"}
    assert f"--python-version {tested}" in (CHECKOUT / "deploy/local/lock").read_text()


def test_no_shell_stands_between_kubernetes_and_the_worker_and_nobody_else_asks_for_health() -> (
    None
):
    assert of("ENTRYPOINT") == ['["verification-worker"]']
    assert of("CMD") == ['["run"]']
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert of("HEALTHCHECK") == []


def test_the_user_is_a_number_and_not_roots() -> None:
    (user,) = of("USER")
    uid, gid = user.split(":")
    security = rendered("production").pod("worker").spec["securityContext"]
    assert (int(uid), int(gid)) == (security["runAsUser"], security["runAsGroup"])
    assert int(uid) >= 10000
    words = [word for word, _ in instructions()]
    assert words.index("USER") > max(n for n, word in enumerate(words) if word == "COPY")


def test_nothing_is_installed_without_a_hash_or_from_elsewhere() -> None:
    steps = [step for run in of("RUN") for step in run.split("&&")]
    pip = [step for step in steps if re.search(r"\b(install|wheel) ", step)]
    assert len(pip) == 4
    for step in pip:
        assert "--require-hashes" in step or "--no-index" in step, step
        assert "--no-deps" in step, step
    assert not [step for step in steps if re.search(r"\b(curl|wget|apt-get|git)\b", step)]
    assert of("ADD") == []


def test_the_image_says_what_it_is_and_at_once_what_it_has_to_say() -> None:
    (labels,) = of("LABEL")
    for label in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert f"VERSION={PROJECT['version']}" in of("ARG")
    for variable in ("PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"):
        assert variable in " ".join(of("ENV"))


def test_a_build_sees_what_is_copied_and_nothing_else() -> None:
    images = re.findall(r"\bREQUIREMENTS=(\S+)", DOCKERFILE.read_text())
    copied = {
        source.replace("${REQUIREMENTS}", requirements)
        for words in of("COPY")
        if not words.startswith("--from=")
        for source in words.split()[:-1]
        for requirements in images
    }
    assert all((CHECKOUT / source).exists() for source in copied)
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    first, *rules = (line for line in lines if not line.startswith("#"))
    assert first == "*", "all is left out but what is named"
    assert sorted(rules) == sorted(["**/__pycache__", *(f"!{source}" for source in copied)])
    assert rules[-1] == "**/__pycache__", "the last rule that matches wins"


@pytest.mark.parametrize("which", ["", "-sandbox", "-console", "-build"])
def test_the_locks_name_versions_hashes_and_no_index(which: str) -> None:
    text = (CHECKOUT / "deploy" / f"requirements{which}.txt").read_text()
    packages = re.findall(r"^[a-z0-9-]+==\S+.*\\$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert packages == lines
    assert "index" not in text
    assert "://" not in text
