"""The routes, and what a page that fails looks like. The loop's thread only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files

import structlog
from aiohttp import web

from worker.console import rendering
from worker.console.asking import NotAnswered
from worker.console.guard import HEADERS, LANGUAGE, SESSION, Guard, Refusal, Visitor
from worker.telemetry.clock import SystemClock
from worker.telemetry.logs import LogEvent, describe

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Page = Callable[["Visit"], Awaitable[web.Response]]

# Forms have a reason or a number in them.
_LARGEST_FORM = 64 * 1024
_STATIC = {"console.css": "text/css", "console.js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a visitor, and how it is answered."""

    request: web.Request
    visitor: Visitor
    language: str
    application: Application

    def page(self, name: str, status: int = 200, **values: object) -> web.Response:
        """Return a template, filled in."""
        return self.application.render(self, name, status, values)

    def asked(self, name: str) -> str | None:
        """Return what the address says, None where it says nothing."""
        return self.request.query.get(name, "").strip() or None

    async def given(self, name: str) -> str:
        """Return a field of the form."""
        value = (await self.request.post()).get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def go(self, path: str) -> web.Response:
        """Send the browser to another page."""
        return web.Response(status=303, headers={"Location": path})


class Application:
    """Admits requests, hands them to pages, and answers for those that fail."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._templates = rendering.templates()
        self.web = web.Application(middlewares=[self._answer], client_max_size=_LARGEST_FORM)
        for name, kind in _STATIC.items():
            self.web.router.add_get(f"/{name}", _file(name, kind))

    def add(self, method: str, path: str, page: Page) -> None:
        """Add a page; what is posted comes from a form of ours."""

        async def handle(request: web.Request) -> web.StreamResponse:
            visit: Visit = request["visit"]
            if method == "POST":
                token = (await request.post()).get("token")
                self.guard.check_form(request, visit.visitor, token)
            return await page(visit)

        self.web.router.add_route(method, path, handle)

    def render(
        self, visit: Visit, name: str, status: int, values: dict[str, object]
    ) -> web.Response:
        """Fill a template in."""
        guard, lang = self.guard, visit.language
        text = self._templates.get_template(f"{name}.html").render(
            path=visit.request.path,
            lang=lang,
            other_language=_other_language(visit),
            t=lambda words, **more: rendering.translated(words, lang, more),
            say=lambda words: rendering.sentence(words, lang),
            user=visit.visitor.user,
            may_act=guard.allow_actions,
            token=guard.token(visit.visitor),
            now=SystemClock().now(),
            **values,
        )
        return web.Response(text=text, content_type="text/html", status=status)

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        kept = request.cookies.get(LANGUAGE)
        lang = rendering.language(request, kept)
        visit = Visit(request, Visitor("", None), lang, self)
        try:
            visit = Visit(request, self.guard.admit(request), lang, self)
            request["visit"] = visit
            answer = await handler(request)
        except Refusal as refusal:
            answer = visit.page("error", refusal.status, words=str(refusal))
        except NotAnswered as problem:
            answer = visit.page("error", 503, words=str(problem))
        except web.HTTPException as error:  # no such page, another method, too large
            answer = visit.page("error", error.status, words=error.reason)
        except Exception as error:  # noqa: BLE001  # its words may quote what somebody typed
            structlog.get_logger().error(LogEvent.CONSOLE_FAILED, **describe(error))
            answer = visit.page("error", 500, words="this page failed: the log says where")
        answer.headers.update(HEADERS)
        if visit.visitor.session != request.cookies.get(SESSION, "") and visit.visitor.session:
            answer.set_cookie(SESSION, visit.visitor.session, httponly=True, samesite="Strict")
        if lang != kept and "lang" in request.query:
            answer.set_cookie(LANGUAGE, lang, httponly=True, samesite="Strict")
        return answer


def _other_language(visit: Visit) -> str:
    """Return the address of this page in the other language; a form's answer has none."""
    other = "en" if visit.language == "zh" else "zh"
    if visit.request.method == "POST":
        return f"/?lang={other}"
    # Without its path, which may begin as the name of another host does.
    return f"?{visit.request.rel_url.update_query(lang=other).raw_query_string}"


def _file(name: str, kind: str) -> Handler:
    content = (files("worker.console") / "static" / name).read_bytes()

    async def handle(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return handle
