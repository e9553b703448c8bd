"""Each page in headless Chromium: a picture, and nothing that axe-core or the browser minds.

The pictures stand in `.local/console` afterwards; those of the README are `overview-en-1280` and
`request-en-1280`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local_programs import program
from tests.console.conftest import USER, Console
from tests.console.test_pages import PAGES
from tests.e2e.harness import ID_CARD, RESULTS, Stack, request, until
from worker.sandbox.magic import BY_NAME

PICTURES = Path(__file__).resolve().parents[2] / ".local" / "console"
# A desk, and two phones: one that reads Chinese, and one that runs no script.
VIEWS = [
    {"name": "en-1280", "width": 1280, "lang": "en", "script": True},
    {"name": "zh-CN-375", "width": 375, "lang": "zh-CN", "script": True},
    {"name": "no-script", "width": 375, "lang": "en", "script": False},
]


@pytest.fixture
def a_day(shown: Stack) -> None:
    """Let a day have gone by, with more requests in some hours than in others."""
    ids = [ID_CARD] * 6 + [BY_NAME[name].id_card for name in ("mismatch", "no_record")]
    day = [f"day-{hour}-{n}" for hour in range(1, 24) for n in range(3 + hour * (24 - hour) // 8)]
    shown.channel.queue_bind("collector", RESULTS, "web-form.#")
    before = shown.count()
    shown.publish_many(
        request(each, ids[n % len(ids)], source="web-form") for n, each in enumerate(day)
    )
    until(lambda: shown.count() == before + len(day) and not shown.unsent())
    for table, times in (
        ("request", ("requested_at", "completed_at", "event_sent_at", "settled_at")),
        ("provider_call", ("started_at", "finished_at")),
    ):
        earlier = ", ".join(f"{time} = {time} - ago" for time in times)
        shown.as_owner(
            f"""WITH day AS (SELECT request_id, make_interval(
                               hours => split_part(request_id, '-', 2)::int) AS ago
                          FROM verification.{table} WHERE starts_with(request_id, 'day-'))
                UPDATE verification.{table} AS t SET {earlier} FROM day
                 WHERE t.request_id = day.request_id"""  # noqa: S608
        )


@pytest.mark.timeout(1800)  # a minute; on a busy machine ten times that
@pytest.mark.usefixtures("a_day")
def test_each_page_is_accessible_on_a_desk_and_a_phone_in_both_languages(
    acting: Console, node_environment: dict[str, str]
) -> None:
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    one = acting.get("/dead-letters").partition("?letter=")[2][:32]
    pages = {each.strip("/").partition("?")[0] or "overview": each for each in PAGES}
    pages["request"] = "/request?id=onb-reset_once"
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
