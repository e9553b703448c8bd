"""What is written for people is true: links, settings, versions, and the commands of the bench."""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import requests

from reference_pages import SETTINGS, reference, renewed
from tests.bench import stand_in
from tests.e2e.harness import CHECKOUT, run_program

DEPLOY, README = CHECKOUT / "deploy", CHECKOUT / "README.md"
PAGES = sorted(
    page
    for pattern in ("*.md", "deploy/*.md", "deploy/*/*.md", "worker/*/*.md")
    for page in CHECKOUT.glob(pattern)
)
MOST_LINES, MOST_WORDS = 180, 1_400  # of the README
VERSION: str = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]

_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_IMAGE = r"(\S+?)(?:-(?:sandbox|console))?"


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the file and the anchor of each link that leads to another page or to a heading."""
    found = re.findall(r"\]\(([^)\s#]*)#?([^)\s]*)\)", page.read_text())
    return [
        ((page.parent / path).resolve() if path else page, anchor)
        for path, anchor in found
        if "://" not in path
    ]


def anchors(page: Path) -> set[str]:
    """Return what GitHub names a page's headings: lower case, hyphens for spaces, no marks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), (target, anchor)


def test_every_page_is_linked_from_the_readme() -> None:
    assert set(PAGES) - {README} <= {target for target, _ in links(README)}


def test_the_readme_is_read_in_ten_minutes() -> None:
    readme = README.read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= MOST_LINES
    assert len(readme.split()) <= MOST_WORDS


def test_the_committed_settings_are_those_of_the_code() -> None:
    committed = SETTINGS.read_text(encoding="utf-8")
    assert committed == renewed(committed, reference()), "run ./deploy/local/settings-reference"


def test_the_installed_worker_has_the_version_of_the_project() -> None:
    assert version("verification-worker") == VERSION


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("compose.yaml", rf"image: verification-worker:{_IMAGE}$"),
        ("Dockerfile", rf"--tag verification-worker:{_IMAGE} [.\\]$"),
        ("Dockerfile", r"ARG VERSION=(\S+)"),
    ],
)
def test_what_repeats_the_version_repeats_this_one(file: str, pattern: str) -> None:
    assert set(re.findall(pattern, (DEPLOY / file).read_text(), re.MULTILINE)) == {VERSION}


def test_the_change_log_has_what_is_unreleased_and_then_this_version() -> None:
    titles = re.findall(r"^## \[?([^]\s]+)", (DEPLOY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[:2] == ["Unreleased", VERSION]


@pytest.mark.parametrize("command", ["contest", "growth"])
def test_a_command_of_the_bench_explains_itself(command: str) -> None:
    """As `deploy/CAPACITY.md` and `deploy/SPEED.md` call them."""
    told = run_program(sys.executable, "-m", f"tests.bench.{command}", "--help")
    assert (told.returncode, "usage:" in told.stdout.lower()) == (0, True), told.stderr


def test_the_late_provider_of_the_bench_answers() -> None:
    with stand_in.delayed(0.0) as url:
        answer = requests.post(url, json={}, timeout=60).json()
    assert answer["result"]["authInfo"]["success"] is True
