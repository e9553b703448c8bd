"""The page of settings says what the code says, and the first page stays a first page."""

from __future__ import annotations

from reference_pages import SETTINGS, reference, renewed
from tests.deploy.manifests import CHECKOUT

MOST_LINES, MOST_WORDS = 180, 1_400


def test_the_committed_settings_are_those_of_the_code() -> None:
    committed = SETTINGS.read_text(encoding="utf-8")
    assert committed == renewed(committed, reference()), "run ./deploy/local/settings-reference"


def test_the_readme_is_read_in_ten_minutes() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= MOST_LINES
    assert len(readme.split()) <= MOST_WORDS
