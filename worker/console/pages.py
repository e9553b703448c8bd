"""Overview, requests, the timeline of one, and the pause."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web
from sqlalchemy import Engine

from worker.admin.cells import read_moment
from worker.admin.status_parts import reads
from worker.admin.timeline import timeline, verdict
from worker.console.application import Application, Visit
from worker.console.asking import Action, Actions, ask, ask_all
from worker.console.chart import chart
from worker.console.guard import Refusal
from worker.contract.names import rfc3339
from worker.contract.request_model import REQUEST_ID_LIMIT, SOURCE
from worker.core.checks import FieldRefused, IdCardCheck, check_id_card
from worker.core.digests import Digests
from worker.core.operations import History, check_reason
from worker.core.outcome import Charged, ErrorKind, Outcome
from worker.settings import StatusSettings
from worker.store.fleet import PostgresPause
from worker.store.inquiry import PostgresInquiry, RequestFilter, list_requests
from worker.store.overview import PostgresOverview
from worker.telemetry.clock import SystemClock, today

# A screen or two.
_ROWS = 50
# A mobile number or longer, whole or with a slip in it.
_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){9,}[ -]?[0-9A-Za-z]?")
_OUTCOMES = [each for each in Outcome if each is not Outcome.CONFLICT]
_UNKNOWN = "no worker has claimed a request with this id: a dead letter may have it"
_NOT_ASKED = (
    "not looked for: this is no valid ID number, and could be a person's number or name with a slip"
    " in it; a request whose id looks like one is found by source and time, or by"
    " `verification-worker explain`"
)
_CHARTS = (
    ("outcomes_by_hour", list(map(str, _OUTCOMES))),
    ("calls_by_hour", list(map(str, Charged))),
)


@dataclass(frozen=True, slots=True)
class Pages:
    """What is shown of the database and the queues' depths."""

    settings: StatusSettings
    engine: Engine
    digests: Digests
    actions: Actions

    def add_to(self, application: Application) -> None:
        """Add our pages."""
        application.add("GET", "/", self.overview)
        application.add("GET", "/requests", self.requests)
        application.add("POST", "/find", self.find)
        application.add("GET", "/request", self.request)
        application.add("GET", "/pause", self.pause)
        application.add("POST", "/pause", self.order_pause)
        application.add("POST", "/resume", self.order_resume)

    async def overview(self, visit: Visit) -> web.Response:
        """Show all parts of the status that can be read, and the last day by hour."""
        view = PostgresOverview(self.engine)
        parts, problems = await ask_all(
            reads(self.engine, self.settings)
            | {"outcomes_by_hour": view.outcomes_by_hour, "calls_by_hour": view.calls_by_hour}
        )
        charts = {name: chart(parts[name], kinds) for name, kinds in _CHARTS if name in parts}
        latest = self.actions.latest
        return visit.page("overview", parts=parts, problems=problems, charts=charts, latest=latest)

    async def requests(self, visit: Visit) -> web.Response:
        """List requests by source, outcome, kind and time."""
        now = SystemClock().now()
        source = visit.asked("source")
        if source is not None and not SOURCE.fullmatch(source):
            raise Refusal(400, "a source has lower-case letters, digits and hyphens")
        wanted = RequestFilter(
            since=_time(visit.asked("since") or "1d", now),
            until=_time(until, now) if (until := visit.asked("until")) else None,
            outcome=_one_of(Outcome, visit.asked("outcome")),
            error_kind=_one_of(ErrorKind, visit.asked("kind")),
            source=source,
            last_at=_time(last, now) if (last := visit.asked("last_at")) else None,
            last_id=visit.asked("last_id") if last else None,
        )
        return await self._list(visit, wanted)

    async def find(self, visit: Visit) -> web.Response:
        """Take a request id, or a person's ID number, which no address and no log may have."""
        text = await visit.given("what")
        try:
            number = check_id_card(text, IdCardCheck.STRICT, today())
        except FieldRefused:
            # The database logs what it is asked for, where it is set to: nobody's name or number.
            if not text.isascii() or _NUMBER.fullmatch(text):
                raise Refusal(400, _NOT_ASKED) from None
            history = await self._history(_request_id(text))
            return visit.go(f"/request?id={quote(history.request_id, safe='')}")
        subjects = tuple(self.digests.subjects(number))
        return await self._list(visit, RequestFilter(subjects=subjects))

    async def _list(self, visit: Visit, wanted: RequestFilter) -> web.Response:
        found = await ask(lambda: list_requests(self.engine, wanted, _ROWS))
        last = found[-1] if len(found) == _ROWS and not wanted.subjects else None
        return visit.page(
            "requests",
            found=found,
            of_person=wanted.subjects is not None,
            outcomes=_OUTCOMES,
            kinds=list(ErrorKind),
            filters={name: visit.asked(name) or "" for name in _FILTERS},
            last=last
            and {"last_at": rfc3339(last.requested_at, "microseconds"), "last_id": last.request_id},
        )

    async def request(self, visit: Visit) -> web.Response:
        """Show what happened to one request, and where it stands now."""
        history = await self._history(_request_id(visit.asked("id") or ""))
        delays = self.settings.retry_delays
        facts = {name: getattr(history, name) for name in _FACTS}
        moments, words = timeline(history, delays), verdict(history, delays)
        return visit.page("request", history=history, facts=facts, moments=moments, words=words)

    async def _history(self, request_id: str) -> History:
        history = await ask(lambda: PostgresInquiry(self.engine).history(request_id))
        if history is None:
            raise Refusal(404, _UNKNOWN)
        return history

    async def pause(self, visit: Visit) -> web.Response:
        """Show whether the workers are paused, and the way to change it."""
        order = PostgresPause(self.engine)
        hold = await ask(order.read)
        under_way = await ask(order.calls_under_way)
        return visit.page("pause", hold=hold, under_way=under_way, latest=self.actions.latest)

    async def order_pause(self, visit: Visit) -> web.Response:
        """Let no worker begin a call."""
        user = visit.application.guard.acting(visit.visitor)
        try:
            reason = check_reason(await visit.given("reason"))
        except ValueError as error:
            raise Refusal(400, f"the reason {error}") from None
        action = Action(SystemClock().now(), user, "pause", reason)
        order = PostgresPause(self.engine)
        await self.actions.carry_out(action, lambda: order.pause(reason, user))
        return visit.go("/pause")

    async def order_resume(self, visit: Visit) -> web.Response:
        """Let the workers go on."""
        user = visit.application.guard.acting(visit.visitor)
        action = Action(SystemClock().now(), user, "resume", "")
        await self.actions.carry_out(action, PostgresPause(self.engine).resume)
        return visit.go("/pause")


Code = TypeVar("Code", bound="StrEnum")
_FILTERS = ("source", "outcome", "kind", "since", "until")
_FACTS = (
    "source check_type mode state outcome error_kind charged attempts requested_at expires_at "
    "completed_at event_sent_at"
).split()


def _request_id(text: str) -> str:
    if not text.isprintable() or not 1 <= len(text) <= REQUEST_ID_LIMIT:
        raise Refusal(400, "a request id has 1 to 128 printable characters")
    return text


def _time(text: str, now: datetime) -> datetime:
    try:
        return read_moment(text, now)
    except ValueError as error:
        raise Refusal(400, f"the time {error}") from None


def _one_of(kind: type[Code], text: str | None) -> Code | None:
    try:
        return None if text is None else kind(text)
    except ValueError:
        raise Refusal(400, "there is no such outcome or kind") from None
