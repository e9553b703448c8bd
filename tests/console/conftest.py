"""A stack with something of everything in it, and the console that shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from coverage import Coverage

from tests.e2e.harness import DEAD, ID_CARD, Process, Stack, request, until
from tests.e2e.letters import UNREADABLE, put
from worker.sandbox.magic import BY_NAME

UNROUTED = "verification.unrouted"
USER = {"X-Forwarded-User": "mei.lin"}
_TOKEN = re.compile(r'name="token" value="([0-9a-f]{32})"')
PLAN = re.compile(r'name="plan" value="([\w-]+)"')


def token(page: str) -> str:
    """Return what a form of a page proves by that it is ours; nothing where there is no form."""
    return next(iter(_TOKEN.findall(page)), "")


@dataclass
class Console:
    """A console process, and a browser's session with it."""

    process: Process
    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str, status: int = 200, lang: str = "en") -> str:
        """Return a page."""
        headers = {"Accept-Language": lang}
        answer = self.session.get(self.url + path, headers=headers, timeout=120)
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, path: str, page: str, status: int = 200, **fields: str) -> str:
        """Send a form that stands on a page; return the page that follows."""
        data = {"token": token(page), **fields}
        answer = self.session.post(self.url + path, data, timeout=120)
        assert answer.status_code == status, answer.text
        return answer.text

    def confirm(self, path: str, **plan: str) -> str:
        """Look at a plan, and confirm it."""
        query = "&".join(f"{name}={value}" for name, value in plan.items())
        page = self.get(f"/{path}/plan?{query}")
        (name,) = PLAN.findall(page)
        return self.post(f"/{path}/act", page, plan=name)

    def actions(self) -> list[dict[str, Any]]:
        """Return the lines of its log about what somebody has done."""
        return self.process.logged("console.action")


@contextmanager
def console(stack: Stack, *options: str) -> Iterator[Console]:
    """Run a console beside a stack."""
    command, module = ["console", "--port", "0", *options], "worker"
    if Coverage.current() is not None:  # most of the console runs nowhere else
        command, module = ["run", "--parallel-mode", "-m", module, *command], "coverage"
    process = Process.start(command, stack.environment, module=module, fork=module == "worker")
    try:
        line = until(lambda: process.said("console.listening") or process.popen.poll())
        assert isinstance(line, str), process.lines
        yield Console(process, json.loads(line)["url"].rstrip("/"))
        assert process.stop() == 0
    finally:
        process.kill()


@pytest.fixture(scope="module")
def shown(module_stack: Stack) -> Stack:
    """Give the module's stack with a request of each outcome, dead letters, unrouted events."""
    stack = module_stack
    stack.channel.queue_unbind("collector", "verification.results", "#")
    for name in ("mismatch", "no_record", "invalid_argument", "recovers_after_1", "reset_once"):
        stack.publish(request(f"onb-{name}", BY_NAME[name].id_card, source="onboarding"))
    for number in range(6):
        stack.publish(request(f"onb-match-{number}", source="web-form"))
    stack.publish(request("onb-rejected", ID_CARD[:-1] + "1"))
    stack.publish(request("onb-expired", expiresAt="2026-01-01T00:00:00Z"))
    stack.publish(UNREADABLE, message_id="unreadable-0")
    until(lambda: stack.count("open_requests") == 0 and stack.count() >= 13)
    until(lambda: not stack.unsent() and stack.depth(DEAD) == 1)
    for number in range(4):
        put(stack, request(f"gave-up-{number}", source="onboarding"))
    put(stack, request("ends-well", source="web-form"), {"reason": "unstorable"})
    return stack


@pytest.fixture(scope="module")
def acting(shown: Stack) -> Iterator[Console]:
    """Run a console behind a proxy that names the user, where people may act."""
    with console(shown, "--allow-actions", "--user-header", "X-Forwarded-User") as running:
        running.session.headers.update(USER)
        yield running


@pytest.fixture(scope="module")
def showing(shown: Stack) -> Iterator[Console]:
    """Run a console as it is by itself: it only shows."""
    with console(shown) as running:
        yield running
