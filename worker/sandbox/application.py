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

from worker.sandbox.admission import CallAdmission, CallRefused, PersonalUser, ReceivedCall
from worker.sandbox.answering import Answering, Sleep, response
from worker.sandbox.behaviours import Act, AtFirst, Headers, Occasion, error_body
from worker.sandbox.charges import Counts, subject_digest
from worker.sandbox.magic import ACTS, BY_ID_CARD, BY_NAME
from worker.sandbox.scenario import Scenario, ScenarioRefused, Script, read_scenario
from worker.sandbox.settings import CALL_PATH, SandboxSettings

#: A portrait of 150 kB is 200 kB of base64; 8 MiB leaves room to test clients that send too much.
MAX_BODY = 8 * 1024 * 1024
_CALL = ("POST", CALL_PATH)


class StandIn:
    """Answers requests, and keeps the counts, the nonces and the scenario."""

    def __init__(self, settings: SandboxSettings, clock: Callable[[], float], sleep: Sleep) -> None:
        """Take the settings; `clock` tells epoch seconds."""
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._unlisted = BY_NAME[settings.unlisted]
        self._admission = CallAdmission(settings)
        self._counts = Counts()
        #: How often each person was asked about: what "at first" means.
        self._attempts: Counter[str] = Counter()
        self._script = Script(Scenario(), settings.latency)
        self._order_numbers = itertools.count(1)
        self._routes: dict[tuple[str, str], Callable[[bytes], web.Response]] = {
            ("GET", "/charges"): lambda _: _json(self._counts.report()),
            ("DELETE", "/charges"): self._zero,
            ("PUT", "/scenario"): self._put_scenario,
            ("GET", "/scenario"): lambda _: _json(self._script.scenario()),
            ("POST", "/reset"): self._reset,
            ("GET", "/healthz"): lambda _: _json({"status": "ok"}),
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.headers.get("Expect", "").lower() == "100-continue":  # curl, large bodies
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refusal(CallRefused(413, "INVALID_ARGUMENT", "the body is too long"))
        wanted = request.method, request.raw_path.partition("?")[0]
        if wanted == _CALL:
            return await self._call(request, body)
        if wanted in self._routes:
            return self._routes[wanted](body)
        allowed = ", ".join(method for method, path in (_CALL, *self._routes) if path == wanted[1])
        if not allowed:
            return _refusal(CallRefused(404, "NOT_FOUND", "no such path"))
        wrong_method = CallRefused(405, "NOT_IMPLEMENTED", "the method is not supported")
        return _refusal(wrong_method, (("Allow", allowed),))

    async def _call(self, request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        call = ReceivedCall(request.method, request.raw_path, request.headers, received)
        now, counts, latency = self._clock(), self._counts, self._script.latency
        try:
            person = self._admission.admit(call, now)
        except CallRefused as refused:
            counts.count_refused(now)
            act, body = Act(status=refused.code), error_body(_request_id(), refused)
        else:
            act = self._act(person, now)
            body = act.body(Occasion(_request_id(), f"{next(self._order_numbers):016d}", person))
        if latency:
            await self._sleep(latency)
        answered = partial(counts.count_answered, act.charged)
        return await Answering(request, self._settings, self._sleep, answered).carry_out(act, body)

    def _act(self, person: PersonalUser, now: float) -> Act:
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

    def _zero(self, _body: bytes) -> web.Response:
        self._counts, self._attempts = Counts(), Counter()
        return _json({"status": "reset"})

    def _reset(self, body: bytes) -> web.Response:
        self._script = Script(Scenario(), self._settings.latency)
        return self._zero(body)

    def _put_scenario(self, body: bytes) -> web.Response:
        try:
            self._script = Script(read_scenario(body), self._settings.latency)
        except ScenarioRefused as refused:
            problem = {"field": refused.field, "problem": refused.problem}
            return _json(problem, status=refused.code)
        return _json(self._script.scenario())


def _refusal(refused: CallRefused, headers: Headers = ()) -> web.Response:
    act = Act(status=refused.code, headers=headers)
    return response(act, error_body(_request_id(), refused))


def _json(value: object, status: int = 200) -> web.Response:
    return response(Act(status=status), orjson.dumps(value))


def _request_id() -> str:
    return secrets.token_hex(16)
