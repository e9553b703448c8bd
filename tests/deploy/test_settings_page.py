"""The page of settings says what the code says, and the first page stays a first page."""

from settings_reference import FILE, renewed
from tests.deploy.manifests import CHECKOUT

MOST_LINES, MOST_WORDS = 180, 1_400


def test_the_committed_settings_are_those_of_the_code() -> None:
    committed = FILE.read_text(encoding="utf-8")
    assert committed == renewed(committed), "run ./deploy/local/settings-reference"


def test_the_readme_is_read_in_ten_minutes() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= MOST_LINES
    assert len(readme.split()) <= MOST_WORDS
