"""Each page in headless Chromium: a picture, and nothing that axe-core or the browser minds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from local_programs import program
from tests.console.conftest import USER
from tests.console.test_pages import PAGES
from tests.e2e.harness import ID_CARD

if TYPE_CHECKING:
    from tests.console.conftest import Console

PICTURES = Path(__file__).resolve().parents[2] / ".local" / "console"
"""Where they stand after the test."""
VIEWS = [
    {"name": f"{lang}-{width}", "width": width, "lang": lang, "script": True}
    for lang in ("en", "zh-CN")
    for width in (1280, 375)
] + [{"name": "no-script", "width": 375, "lang": "en", "script": False}]


def test_each_page_is_accessible_on_a_desk_and_a_phone_in_both_languages(
    acting: Console, node_environment: dict[str, str]
) -> None:
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    one = acting.get("/dead-letters").partition("?letter=")[2][:32]
    pages = {each.strip("/").partition("?")[0] or "overview": each for each in PAGES}
    pages |= {
        "letter": f"/dead-letters?letter={one}",
        "replay": "/dead-letters/plan?verb=replay",
        "drop": "/unrouted/plan?verb=drop",
        "error": "/request?id=nobody",
    }
    what = {
        "browser": program("chromium"),
        "url": acting.url,
        "headers": USER,
        "folder": str(PICTURES),
        "pages": pages,
        "id": ID_CARD,
        "views": VIEWS,
    }
    done = subprocess.run(
        [program("node"), Path(__file__).with_name("look.js")],
        env={**os.environ, **node_environment},
        input=json.dumps(what),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [each for each in json.loads(done.stdout) if "404" not in each]
    assert found == []
    assert len(list(PICTURES.glob("*.png"))) == len(VIEWS) * (len(pages) + 1)
