"""The application: what the sandbox answers to each HTTP request. The server's thread only.

    POST /v1/personal       a call
    GET /charges            the counts (`Counts`); DELETE zeroes them
    PUT, GET /scenario      how calls act for a while (`scenario`)
    POST /reset             everything as at the start, but for the nonces
    GET /healthz            200

A charge is counted before anything is sent: whatever then happens on the connection, the person
has been paid for.
"""

import itertools
import secrets
from collections import Counter
from collections.abc import Callable
from functools import partial

import orjson
from aiohttp import web

from worker.sandbox.admission import Admission, Person, ReceivedCall, Refused
from worker.sandbox.answering import Answering, Sleep, response
from worker.sandbox.behaviours import Act, AtFirst, Headers, Occasion, error_body
from worker.sandbox.charges import Counts, subject_digest
from worker.sandbox.magic import ACTS, BY_ID_CARD, BY_NAME
from worker.sandbox.scenario import Scenario, ScenarioRefused, Script, read_scenario
from worker.sandbox.settings import CALL_PATH, SandboxSettings

#: A portrait of 150 kB is 200 kB of base64; 8 MiB leaves room to test clients that send too much.
MAX_BODY = 8 * 1024 * 1024
_NO_SUCH_PATH = Refused(404, "NOT_FOUND", "no such path")
_WRONG_METHOD = Refused(405, "NOT_IMPLEMENTED", "the method is not supported")
_TOO_LONG = Refused(413, "INVALID_ARGUMENT", "the body is too long")


class StandIn:
    """Answers requests, and keeps the counts, the nonces and the scenario."""

    def __init__(self, settings: SandboxSettings, clock: Callable[[], float], sleep: Sleep) -> None:
        """Raise `ValueError` where `settings.unlisted` names no behaviour; `clock`: epoch s."""
        if settings.unlisted not in BY_NAME:
            raise ValueError(f"unlisted must be one of: {', '.join(BY_NAME)}")
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._unlisted = BY_NAME[settings.unlisted]
        self._admission = Admission(settings)
        self._counts = Counts()
        #: How often each person was asked about: what "at first" means.
        self._attempts: Counter[str] = Counter()
        self._script = Script(Scenario(), settings.latency)
        self._order_numbers = itertools.count(1)
        self._routes = {
            ("POST", CALL_PATH): self._call,
            ("GET", "/charges"): self._show_charges,
            ("DELETE", "/charges"): self._zero,
            ("PUT", "/scenario"): self._put_scenario,
            ("GET", "/scenario"): self._show_scenario,
            ("POST", "/reset"): self._reset,
            ("GET", "/healthz"): self._show_health,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.raw_path.partition("?")[0]
        route = self._routes.get((request.method, path))
        if route is None:
            allowed = ", ".join(method for method, routed in self._routes if routed == path)
            if allowed:
                return _refusal(_WRONG_METHOD, (("Allow", allowed),))
            return _refusal(_NO_SUCH_PATH)
        if request.headers.get("Expect", "").lower() == "100-continue":  # curl, large bodies
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return await route(request)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(_TOO_LONG)

    async def _call(self, request: web.BaseRequest) -> web.StreamResponse:
        call = ReceivedCall(request.method, request.raw_path, request.headers, await request.read())
        now, counts, latency = self._clock(), self._counts, self._script.latency
        try:
            person = self._admission.admit(call, now)
        except Refused as refused:
            counts.count_refused(now)
            await self._wait(latency)
            counts.count_answered(charged=False)
            return _refusal(refused)
        act = self._act(person, now)
        body = act.body(Occasion(_request_id(), f"{next(self._order_numbers):016d}", person))
        await self._wait(latency)
        answered = partial(counts.count_answered, act.charged)
        return await Answering(request, self._settings, self._sleep, answered).carry_out(act, body)

    def _act(self, person: Person, now: float) -> Act:
        """Return how an admitted call acts, and count it with its charge."""
        magic = self._script.cast(BY_ID_CARD.get(person.number, self._unlisted), now)
        name, act = magic.name, magic.behaviour
        if isinstance(act, AtFirst):
            # Under a digest, so that memory holds no person.
            attempt = subject_digest(f"{name} {person.number} {person.name}")
            self._attempts[attempt] += 1
            name = act.act if self._attempts[attempt] <= act.times else "match"
            act = ACTS[name]
        self._counts.count_admitted(now, magic.name, name, person.number, act.charged)
        return act

    async def _wait(self, latency: float) -> None:
        if latency:
            await self._sleep(latency)

    async def _show_charges(self, _request: web.BaseRequest) -> web.Response:
        return _json(self._counts.report())

    async def _zero(self, _request: web.BaseRequest) -> web.Response:
        self._counts, self._attempts = Counts(), Counter()
        return _json({"status": "reset"})

    async def _reset(self, request: web.BaseRequest) -> web.Response:
        self._script = Script(Scenario(), self._settings.latency)
        return await self._zero(request)

    async def _put_scenario(self, request: web.BaseRequest) -> web.Response:
        try:
            scenario = read_scenario(await request.read())
        except ScenarioRefused as refused:
            problem = {"field": refused.field, "problem": refused.problem}
            return _json(problem, status=refused.code)
        self._script = Script(scenario, self._settings.latency)
        return _json(self._script.scenario())

    async def _show_scenario(self, _request: web.BaseRequest) -> web.Response:
        return _json(self._script.scenario())

    async def _show_health(self, _request: web.BaseRequest) -> web.Response:
        return _json({"status": "ok"})


def _refusal(refused: Refused, headers: Headers = ()) -> web.Response:
    act = Act(status=refused.code, headers=headers)
    return response(act, error_body(_request_id(), refused))


def _json(value: object, status: int = 200) -> web.Response:
    return response(Act(status=status), orjson.dumps(value))


def _request_id() -> str:
    return secrets.token_hex(16)
