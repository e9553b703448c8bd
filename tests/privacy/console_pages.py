"""The console's pages as a person opens them: each is kept beside its log, to be searched."""

from __future__ import annotations

import json
import re
from itertools import count

import requests

from tests.e2e.harness import COMMAND
from tests.privacy.canaries import Canary
from tests.privacy.system import PATIENCE, Site, eventually

_PAGES = ("/", "/?lang=zh", "/requests", "/dead-letters", "/unrouted", "/pause")


def look_at_the_console(site: Site, known: Canary, unknown: Canary) -> None:
    """Open each page, and each dead letter; look persons up; replay, with a slip on the way."""
    options = ["--port", "0", "--allow-actions", "--user-header", "X-User"]
    job = site.system.run("console", [*COMMAND, "console", *options], site.environment)
    url = json.loads(eventually(lambda: job.said("console.listening")))["url"].rstrip("/")
    session, numbers = requests.Session(), count()
    session.headers["X-User"] = "mei.lin"

    def look(path: str, **form: str) -> str:
        def answer() -> list[requests.Response]:
            send = session.post if form else session.get
            found = send(url + path, data=form or None, timeout=PATIENCE)
            return [] if found.status_code == 503 else [found]  # another holds the letters

        (found,) = eventually(answer)
        page = f"{found.url} {found.headers} {found.text}"
        file = site.system.root / "logs" / f"console-page-{site.name}-{next(numbers)}.html"
        file.write_text(page, encoding="utf-8")
        assert found.status_code < 500
        return page

    pages = "".join(map(look, _PAGES))
    letters = re.findall(r"\?letter=\w+", look("/dead-letters?group=not_json"))
    for one in re.findall(r"\?letter=\w+", pages)[:20] + letters[:10]:
        look(f"/dead-letters{one}")
    token = re.findall(r'name="token" value="(\w+)"', pages)[0]
    assert known.label in look("/find", token=token, what=known.id_card)
    for what in (unknown.id_card, unknown.id_card[:-1], unknown.mobile, f"{unknown.name} "):
        look("/find", token=token, what=what)
    look("/pause", token=token, reason=f"for {unknown.id_card}")
    look(f"/request?id={known.label}")
    plan = re.findall(
        r'name="plan" value="([\w-]+)"', look("/dead-letters/plan?verb=drop&group=not_an_object")
    )
    look("/dead-letters/act", token=token, plan=plan[0])
    assert job.said("console.action")
    assert job.stop() == 0
