"""What the console shows, what it refuses, and what it does, beside a real stack."""

from __future__ import annotations

import re
from contextlib import closing
from html import unescape
from http.client import HTTPConnection

import psycopg
import pytest

from tests.console.conftest import PLAN, UNROUTED, Console, console, token
from tests.e2e.harness import DEAD, ID_CARD, Stack, request, until
from tests.e2e.letters import put

PAGES = ("/", "/requests", "/request?id=onb-mismatch", "/dead-letters", "/unrouted", "/pause")


def words(page: str) -> str:
    """Return what a page says."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_overview_shows_queues_workers_calls_and_budget(showing: Console) -> None:
    said = words(showing.get("/"))
    assert "verification.requests 0 1" in said
    assert "working" in said
    assert re.search(r"answered \d+ \d+ 0 0", said)
    assert "sandbox:" in said
    assert "No DAILY_CALL_BUDGET is set here." in said
    outcomes = said.partition("Outcomes by hour")[2].partition("Calls by hour")[0]
    assert "match mismatch no_record rejected failed expired" in outcomes
    assert "This console only shows" in said


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("outcome=mismatch", {"onb-mismatch"}),
        ("kind=expired", {"onb-expired"}),
        ("source=web-form&outcome=match", {f"onb-match-{number}" for number in range(6)}),
        ("until=1h", set()),
        ("since=1h&outcome=no_record", {"onb-no_record"}),
    ],
)
def test_requests_are_filtered(showing: Console, query: str, ids: set[str]) -> None:
    assert set(re.findall(r"/request\?id=([\w-]+)", showing.get(f"/requests?{query}"))) == ids


COPIES = """
INSERT INTO verification.request
SELECT (jsonb_populate_record(one, jsonb_build_object('request_id', 'page-' || number,
        'source', 'pages', 'requested_at', now() - interval '30 hours'))).*
  FROM verification.request AS one, generate_series(1, 120) AS number
 WHERE request_id = 'onb-rejected'
"""


def test_older_ones_go_on_where_a_page_ends_amid_requests_that_were_claimed_at_once(
    showing: Console, shown: Stack
) -> None:
    with psycopg.connect(shown.database_url) as owner:
        owner.execute(COPIES)
    ids: list[str] = []
    links = ["/requests?source=pages&since=2d"]
    while links:
        page = showing.get(unescape(links[0]))
        ids += re.findall(r"/request\?id=([\w-]+)", page)
        links = re.findall(r'href="(/requests\?[^"]+)"', page)
    assert sorted(ids) == sorted(f"page-{number}" for number in range(1, 121))


def test_a_request_is_found_by_its_id_with_its_timeline(showing: Console) -> None:
    page = showing.post("/find", showing.get("/requests"), what="onb-reset_once")
    assert "finished: match, charged twice" not in page  # the first is in doubt
    assert 'href="/dead-letters?id=onb-reset_once"' in page
    assert 'href="/unrouted?id=onb-reset_once"' in page  # a confirm does not tell
    said = words(page)
    assert "call 1 in doubt" in said
    assert "call 2 started" in said
    assert "finished: match, charged once, charge unknown once" in said
    chinese = showing.get("/request?id=onb-reset_once", lang="zh-CN")
    assert "第 2 次调用开始" in chinese


@pytest.mark.parametrize("spelling", [ID_CARD, " 110105-19491231-002x "])
def test_a_person_is_found_by_an_id_number_that_stands_nowhere(
    showing: Console, spelling: str
) -> None:
    answer = showing.post("/find", showing.get("/requests"), what=spelling)
    assert set(re.findall(r"/request\?id=([\w-]+)", answer)) >= {"onb-match-0", "onb-match-5"}
    assert "onb-mismatch" not in answer
    assert ID_CARD not in answer


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        (ID_CARD[:-1] + "1", "or by `verification-worker explain`"),
        ("张三", "or by `verification-worker explain`"),
        ("x" * 129, "1 to 128 printable characters"),
        ("nobodys", "a dead letter may have it"),
    ],
)
def test_what_is_no_known_id_comes_into_no_address(
    showing: Console, what: str, advice: str
) -> None:
    form = {"token": token(showing.get("/requests")), "what": what}
    answer = showing.session.post(f"{showing.url}/find", form, allow_redirects=False)
    assert answer.status_code in (400, 404)
    assert advice in answer.text
    assert what not in answer.text


def test_dead_letters_are_grouped_and_masked(showing: Console) -> None:
    said = words(page := showing.get("/dead-letters"))
    assert "provider_unavailable 4" in said
    assert "1 more like these" in said
    assert "not_json 1" in said
    one = re.findall(r"\?letter=\w+", page)[0]
    shown = showing.get(f"/dead-letters{one}")
    assert "1****************X" in shown
    assert ID_CARD not in shown
    assert "张三" not in shown


def test_nothing_is_changed_by_a_console_that_only_shows(showing: Console, shown: Stack) -> None:
    page = showing.get("/dead-letters/plan?verb=drop&group=unstorable")
    assert "<button" not in page
    before = shown.left_in(DEAD)
    for path in ("/dead-letters/act", "/unrouted/act", "/pause", "/resume"):
        assert "--allow-actions" in showing.post(path, page, 403, plan="x", reason="y")
    assert shown.left_in(DEAD) == before


def test_a_post_without_our_token_is_refused(acting: Console) -> None:
    page = acting.get("/pause")
    acting.post("/pause", "", 403, reason="from elsewhere")
    foreign = {"Sec-Fetch-Site": "cross-site"}
    form = {"token": token(page), "reason": "from elsewhere"}
    answer = acting.session.post(f"{acting.url}/pause", form, headers=foreign)
    assert answer.status_code == 403
    assert "Not paused." in acting.get("/pause")


def test_who_acts_is_who_the_proxy_names(acting: Console, shown: Stack) -> None:
    page = acting.get("/pause")
    acting.session.headers.pop("X-Forwarded-User")
    assert "the proxy does not say" in acting.post("/pause", page, 403, reason="nobody's")
    with closing(HTTPConnection(acting.url.removeprefix("http://"))) as connection:
        connection.putrequest("GET", "/pause")
        for name in ("what.the.browser.sent", "mei.lin"):
            connection.putheader("X-Forwarded-User", name)
        connection.endheaders()
        assert b"You are" not in connection.getresponse().read()
    acting.session.headers["X-Forwarded-User"] = "mei.lin"
    assert "must not hold a number" in acting.post("/pause", page, 400, reason=ID_CARD)
    assert "mei.lin: deploying" in acting.post("/pause", page, reason="deploying")
    said = shown.command("status").stdout
    assert "by mei.lin: deploying" in said
    assert "Not paused." in acting.post("/resume", acting.get("/pause"))
    until(lambda: len(acting.actions()) == 2)  # what it says is read beside us
    assert [(line["user"], line["action"], line["what"]) for line in acting.actions()] == [
        ("mei.lin", "pause", "deploying"),
        ("mei.lin", "resume", ""),
    ]
    until(lambda: "working" in words(acting.get("/")))


def test_a_group_is_replayed_and_one_letter_dropped(acting: Console, shown: Stack) -> None:
    page = acting.get("/dead-letters/plan?verb=replay&group=provider_unavailable")
    assert "4 not finished: may be called, and charged" in words(page)
    assert "replay dead-letters provider_unavailable" in words(
        acting.confirm("dead-letters", verb="replay", group="provider_unavailable")
    )
    until(lambda: shown.results().keys() >= {f"gave-up-{number}" for number in range(4)})
    one = re.findall(r"letter=(\w+)", acting.get("/dead-letters?group=unstorable"))[0]
    acting.confirm("dead-letters", verb="drop", letter=one)
    until(lambda: shown.depth(DEAD) == 1)
    assert "not_json 1" in words(acting.get("/dead-letters"))
    until(lambda: acting.actions()[-1]["action"] == "drop")
    done = [(line["action"], line["done"], line["of"]) for line in acting.actions()]
    assert done[-2:] == [("replay", 4, 4), ("drop", 1, 1)]


def test_a_plan_is_carried_out_once(acting: Console) -> None:
    page = acting.get("/unrouted/plan?verb=drop&source=nobody&group=张三")
    (plan,) = PLAN.findall(page)
    acting.post("/unrouted/act", page, plan=plan)
    assert "look again" in acting.post("/unrouted/act", page, 409, plan=plan)
    until(lambda: acting.actions()[-1]["what"] == "unrouted ")
    assert "张三" not in acting.get("/")


def test_unrouted_events_are_replayed_to_who_is_bound_now_and_dropped(
    acting: Console, shown: Stack
) -> None:
    before = shown.left_in(UNROUTED)
    assert "onboarding.mismatch 1" in words(acting.get("/unrouted"))
    shown.channel.queue_bind("collector", "verification.results", "onboarding.mismatch")
    acting.confirm("unrouted", verb="replay", group="onboarding.mismatch")
    until(lambda: shown.depth("collector") == 1)
    until(lambda: shown.depth(UNROUTED) == before - 1)
    acting.confirm("unrouted", verb="drop", group="web-form.match")
    assert "web-form.match" not in acting.get("/unrouted").partition("Done from here")[0]


def test_a_locked_table_hides_no_other_part(showing: Console, shown: Stack) -> None:
    with psycopg.connect(shown.database_url, application_name="an-analyst") as locker:
        locker.execute("LOCK verification.request")
        said = words(showing.get("/"))
        assert "Could not be read: the database does not answer (a lock is held" in said
        assert "application an-analyst" in said
        assert "verification.requests 0 1" in said
        assert "does not answer" in showing.get("/requests", 503)
    assert "onb-mismatch" in showing.get("/requests")


def test_servers_that_are_away_are_said_to_be(shown: Stack) -> None:
    stack = Stack("amqp://127.0.0.1:1/", "postgresql://127.0.0.1:1/x", shown.provider)
    with console(stack) as lonely:
        said = words(lonely.get("/"))
        assert "the broker does not answer" in said
        assert "the database does not answer" in said
        assert "the broker does not answer" in lonely.get("/dead-letters", 503)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"Host": "rebound.example.org"}, 403),
        ("/", {"Host": "localhost:8090"}, 200),
        ("/", {"Host": "[::1]:8090"}, 200),
        ("//evil.example/nowhere", {}, 404),
        ("/pause?lang=zh", {}, 200),
        ("/requests?source=A%20B", {}, 400),
        ("/requests?since=yesterday", {}, 400),
        ("/requests?outcome=good", {}, 400),
        ("/request?id=nobody", {}, 404),
        ("/console.css", {}, 200),
    ],
)
def test_every_answer_tells_the_browser_to_be_strict(
    showing: Console, path: str, headers: dict[str, str], status: int
) -> None:
    answer = showing.session.get(showing.url + path, headers=headers, timeout=120)
    assert answer.status_code == status
    assert "evil.example" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    showing.session.cookies.pop("console_language", None)


def test_a_replay_stops_with_the_console_and_is_logged_so_far(shown: Stack) -> None:
    before = shown.left_in(DEAD)
    for number in range(1000):  # 20 s at 50 a second; a page waits for 3 s
        put(shown, request(f"many-{number}", source="many"))
    until(lambda: shown.depth(DEAD) == before + 1000)
    with console(shown, "--allow-actions") as running:
        overview = running.confirm("dead-letters", verb="replay", source="many")
        assert "replay dead-letters provider_unavailable under way" in words(overview)
        until(lambda: re.search(r"[1-9]\d* / 1,000", words(running.get("/"))))
        assert running.process.stop() == 0
        (told,) = running.actions()
    assert 0 < told["done"] < told["of"] == 1000
    assert told["problem"] == "the console was ended: the rest stands where it was"
    until(lambda: shown.depth(DEAD) == before + 1000 - told["done"])
