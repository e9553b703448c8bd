"""The endpoint: from a request to the act that answers it. Synchronous; one thread, the server's.

A charge is counted here, before anything is sent: whatever then happens on the connection, the
person has been paid for.

    POST /v1/personal       a call
    GET /charges            the counts (`ChargeCounts`); DELETE zeroes them
    PUT, GET /scenario      how calls act for a while (`scenario`)
    POST /reset             everything as at the start, but for the nonces
    GET /healthz            200
"""

import itertools
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import orjson

from worker.sandbox.acts import AtFirst, Respond, Turn
from worker.sandbox.answers import Occasion, constant, refusal_body
from worker.sandbox.attempts import Attempts
from worker.sandbox.charges import ChargeCounts, Charges, subject_digest
from worker.sandbox.gate import Gate
from worker.sandbox.magic import ACTS, BY_ID_CARD, BY_NAME
from worker.sandbox.person import Person, read_person
from worker.sandbox.refusal import Refused, invalid_argument
from worker.sandbox.scenario import Scenario, ScenarioRefused, read_scenario
from worker.sandbox.script import Script
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.wire import Request

PATH: Final = "/v1/personal"

_NO_BODY = constant(b"")


class Endpoint:
    """Answers requests and keeps the counts."""

    def __init__(self, settings: SandboxSettings, clock: Callable[[], float]) -> None:
        """Raise `ValueError` where `settings.unlisted` names no behaviour; `clock`: epoch s."""
        if settings.unlisted not in BY_NAME:
            raise ValueError(f"unlisted must be one of: {', '.join(BY_NAME)}")
        self.clock = clock
        self._unlisted = BY_NAME[settings.unlisted]
        self._gate = Gate(settings)
        self._charges = Charges()
        self._attempts = Attempts()
        self._base_latency = settings.latency
        self._script = Script(Scenario(), settings.latency)
        self._order_numbers = itertools.count(1)
        self._routes: dict[tuple[str, str], Callable[[Request], Turn]] = {
            ("POST", PATH): self._verify,
            ("GET", "/charges"): lambda _: _json(self._charges.counts()),
            ("DELETE", "/charges"): self._zero_by_request,
            ("PUT", "/scenario"): self._put_scenario,
            ("GET", "/scenario"): lambda _: _json(self._script.scenario()),
            ("POST", "/reset"): self._reset_by_request,
            ("GET", "/healthz"): lambda _: _json({"status": "ok"}),
        }

    def turn(self, request: Request) -> Turn:
        """Return what to do about a request."""
        route = self._routes.get((request.method, request.path))
        if route is not None:
            return route(request)
        allowed = [method for method, path in self._routes if path == request.path]
        if allowed:
            refused = Refused(405, "NOT_IMPLEMENTED", "the method is not supported")
            return refusal_turn(refused, ("Allow", ", ".join(allowed)))
        return refusal_turn(Refused(404, "NOT_FOUND", "no such path"))

    @property
    def latency(self) -> float:
        """Seconds that a call takes before it is answered, as of now."""
        return self._script.latency

    def count_answered(self, turn: Turn) -> None:
        """Count that a turn's whole answer is being sent, if it is a call's."""
        if turn.era is not None:
            self._charges.count_answered(turn.era, turn.act.charged)

    def counts(self) -> ChargeCounts:
        """Return the counts of this moment. Any thread may ask."""
        return self._charges.counts()

    def wait_for_calls(self, calls: int, timeout: float) -> bool:
        """Wait for calls to have arrived; see `Charges.wait_for_calls`. Not the server's thread."""
        return self._charges.wait_for_calls(calls, timeout)

    def reset(self) -> None:
        """Zero the counts and end the scenario; used nonces stay used. Any thread."""
        self._script = Script(Scenario(), self._base_latency)
        self._zero()

    def _zero(self) -> None:
        """Zero the counts and forget who was asked about."""
        self._charges.reset()
        self._attempts.reset()

    def _verify(self, request: Request) -> Turn:
        now = self.clock()
        try:
            self._gate.admit(request, now)
            person = _person(request)
        except Refused as refused:
            return replace(refusal_turn(refused), era=self._charges.count_refused(now))
        return self._admitted(person, now)

    def _admitted(self, person: Person, now: float) -> Turn:
        magic = self._script.cast(BY_ID_CARD.get(person.number, self._unlisted), now)
        name, act = magic.name, magic.behaviour
        if isinstance(act, AtFirst):
            name = self._attempts.next_act(name, act, person)
            act = ACTS[name]
        subject = subject_digest(person.number)
        era = self._charges.count_admitted(now, magic.name, name, subject, act.charged)
        if not isinstance(act, Respond):
            return Turn(act, era=era)
        occasion = Occasion(_request_id(), f"{next(self._order_numbers):016d}", person)
        return Turn(act, act.body(occasion), era)

    def _put_scenario(self, request: Request) -> Turn:
        try:
            scenario = read_scenario(request.body)
        except ScenarioRefused as refused:
            problem = {"field": refused.field, "problem": refused.problem}
            return Turn(Respond(_NO_BODY, status=refused.code), orjson.dumps(problem))
        self._script = Script(scenario, self._base_latency)
        return _json(self._script.scenario())

    def _zero_by_request(self, _request: Request) -> Turn:
        self._zero()
        return _json({"status": "reset"})

    def _reset_by_request(self, _request: Request) -> Turn:
        self.reset()
        return _json({"status": "reset"})


def refusal_turn(refused: Refused, *headers: tuple[str, str]) -> Turn:
    """Return the turn that answers a refusal in the provider's form."""
    act = Respond(_NO_BODY, status=refused.code, headers=headers)
    return Turn(act, refusal_body(_request_id(), refused))


def _person(request: Request) -> Person:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise invalid_argument("Content-Type must be application/json")
    return read_person(request.body)


def _json(value: object) -> Turn:
    return Turn(Respond(_NO_BODY), orjson.dumps(value))


def _request_id() -> str:
    return secrets.token_hex(16)
