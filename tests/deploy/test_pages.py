"""The pages for people lead to each other: no link, and no heading that one names, is missing."""

import re
from pathlib import Path

import pytest

from tests.deploy.manifests import CHECKOUT

PAGES = sorted(
    [
        *CHECKOUT.glob("*.md"),
        *CHECKOUT.glob("deploy/*.md"),
        *CHECKOUT.glob("deploy/*/*.md"),
        *CHECKOUT.glob("worker/*/*.md"),
    ]
)

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return what GitHub names a page's headings: lower case, hyphens for spaces, no marks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme() -> None:
    readme = CHECKOUT / "README.md"
    linked = {
        (CHECKOUT / link.partition("#")[0]).resolve() for link in _LINK.findall(readme.read_text())
    }
    assert set(PAGES) - {readme} <= linked
