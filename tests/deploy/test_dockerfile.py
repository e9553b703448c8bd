"""What can be read in the Dockerfile; `tests/image` builds it."""

import re
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import CHECKOUT, run_program
from tests.matrix.run import COMPONENTS

DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"
TEXT = DOCKERFILE.read_text()


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = run_program(str(hadolint), "--no-color", str(DOCKERFILE))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_base_is_the_slim_python_that_is_tried_last() -> None:
    newest = COMPONENTS["python"][1][-1]
    assert re.findall(r"python:(\S+)", TEXT) == [f"{newest}-slim-trixie"]
    workflow = (CHECKOUT / ".github/workflows/ci.yml").read_text()
    assert f'python-version: "{newest}"' in workflow


def test_nothing_is_installed_without_a_hash_or_from_elsewhere() -> None:
    steps = re.findall(r"bin/pip .*?(?=&&|\n[A-Z])", TEXT, re.DOTALL)
    assert len(steps) == 4
    for step in steps:
        assert "--require-hashes" in step or "--no-index" in step, step
        assert "--no-deps" in step, step
    assert not re.search(r"^ADD |\b(curl|wget|apt-get)\b", TEXT, re.MULTILINE)


def test_a_build_sees_what_is_copied_and_nothing_else() -> None:
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    first, *named, last = (line for line in lines if not line.startswith("#"))
    assert first == "*", "all is left out but what is named"
    assert last == "**/__pycache__", "the last rule that matches wins"
    for name in named:
        assert (CHECKOUT / name.removeprefix("!")).exists()
        assert Path(name.removeprefix("!")).name in TEXT


@pytest.mark.parametrize("which", ["", "-sandbox", "-console", "-build"])
def test_the_locks_name_versions_hashes_and_no_index(which: str) -> None:
    text = (CHECKOUT / "deploy" / f"requirements{which}.txt").read_text()
    packages = re.findall(r"^[a-z0-9-]+==\S+.*\\$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert packages == lines
    assert "index" not in text
    assert "://" not in text
