"""The version stands in pyproject.toml; the installed package and whatever repeats it agree."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]
_VERSION: str = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())["project"]["version"]


def test_the_installed_worker_has_the_version_of_the_project() -> None:
    assert version("verification-worker") == _VERSION


_IMAGE = r"(\S+?)(?:-(?:sandbox|console))?"


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("compose.yaml", rf"image: verification-worker:{_IMAGE}$"),
        ("Dockerfile", rf"--tag verification-worker:{_IMAGE} [.\\]$"),
        ("Dockerfile", r"ARG VERSION=(\S+)"),
    ],
)
def test_what_repeats_the_version_repeats_this_one(file: str, pattern: str) -> None:
    text = (_CHECKOUT / "deploy" / file).read_text()
    assert set(re.findall(pattern, text, re.MULTILINE)) == {_VERSION}


def test_the_change_log_has_what_is_unreleased_and_then_this_version() -> None:
    titles = re.findall(r"^## \[?([^]\s]+)", (_CHECKOUT / "deploy/CHANGELOG.md").read_text(), re.M)
    assert titles[:2] == ["Unreleased", _VERSION]
