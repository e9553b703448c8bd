"""Scenarios: how calls act for a while, whoever they ask about. `Script` carries one out.

`PUT /scenario` takes one as a JSON object, every field of which may be left out or null:

    act                name of a behaviour of `magic.TABLE` for the next calls; null: their own
    calls              for how many calls; without it, for all until the scenario changes
    steps              instead of the two: [{"act": …, "calls": …}, …], one after another
    latency            seconds that every call takes; without it, what the sandbox started with
    calls_per_minute   calls beyond so many in any 60 s are throttled (429, Retry-After: 1)

    {"act": "unavailable", "calls": 20}        an outage of 20 calls, then as the ID numbers say
    {"steps": [{"act": "quota_exceeded", "calls": 5}, {"act": "slow", "calls": 5}]}
    {"calls_per_minute": 300, "latency": 0.3}
    {}                                         everything as it was at the start

It replaces the whole scenario that held before. `GET /scenario` answers with what still holds, in
the form with `steps`; `POST /reset` ends it. Only a call that passed the sandbox's own checks and
the limit uses up a step, and only such a call counts towards the limit, from the PUT on.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from worker.sandbox.charges import SlidingMinute
from worker.sandbox.magic import BY_NAME, THROTTLED, Magic

# A script written by hand has a dozen steps; a bound keeps what GET answers readable.
_MOST_STEPS = 1000
# The limit keeps a time for each call of a minute: 32 MB at this, ten times what we can serve.
_MOST_CALLS_PER_MINUTE = 1_000_000
# A name is the sender's own: enough of it to find a typo, and one short line.
_SHOWN_OF_A_NAME = 64
# What the problem names where it is no single field.
_WHOLE = "scenario"


@dataclass(eq=False)
class ScenarioRefused(Exception):
    """A body is no scenario. `field` is a path such as `steps[0].act`."""

    code: int
    field: str
    problem: str


@dataclass(frozen=True, slots=True)
class Step:
    """One behaviour (None: as the ID number says) for so many calls (None: all that follow)."""

    act: str | None
    calls: int | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What holds until it is replaced; after the last step calls act as their ID numbers say."""

    steps: tuple[Step, ...] = ()
    #: Seconds; None is what the sandbox started with.
    latency: float | None = None
    calls_per_minute: int | None = None


class Script:
    """One scenario being carried out: says of each call how it acts. The server's thread only."""

    def __init__(self, scenario: Scenario, base_latency: float) -> None:
        """Begin with the first step; `base_latency` holds where the scenario names none."""
        #: Seconds that every call takes before it is answered.
        self.latency = base_latency if scenario.latency is None else scenario.latency
        self._limit = scenario.calls_per_minute
        self._passed = SlidingMinute()
        self._steps = deque(scenario.steps)
        self._calls_of_step = 0

    def cast(self, own: Magic, now: float) -> Magic:
        """Return how a call at `now` acts; `own` is how it would without a scenario."""
        if self._limit is not None and not self._passed.add_below(self._limit, now):
            return THROTTLED
        if not self._steps:
            return own
        act = self._next_act()
        return own if act is None else BY_NAME[act]

    def scenario(self) -> Scenario:
        """Return what still holds: given to another script, that one would go on from here."""
        steps = tuple(self._steps)
        if steps and steps[0].calls is not None:
            rest = replace(steps[0], calls=steps[0].calls - self._calls_of_step)
            steps = (rest, *steps[1:])
        return Scenario(steps, self.latency, self._limit)

    def _next_act(self) -> str | None:
        step = self._steps[0]
        self._calls_of_step += 1
        if self._calls_of_step == step.calls:
            self._steps.popleft()
            self._calls_of_step = 0
        return step.act


def read_scenario(body: bytes) -> Scenario:
    """Return the scenario of a request's body; raise `ScenarioRefused` where it is none."""
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ScenarioRefused(400, _WHOLE, "is not JSON") from None
    fields = _object(document, "", ("act", "calls", "steps", "latency", "calls_per_minute"))
    return Scenario(
        steps=_steps(fields),
        latency=_latency(fields.get("latency")),
        calls_per_minute=_count(
            fields.get("calls_per_minute"), "calls_per_minute", 0, _MOST_CALLS_PER_MINUTE
        ),
    )


def _steps(fields: Mapping[str, object]) -> tuple[Step, ...]:
    if (listed := fields.get("steps")) is None:
        if fields.get("calls") is not None and fields.get("act") is None:
            raise _wrong("calls", "means nothing without act")
        step = _step(fields, "")
        return () if step.act is None else (step,)
    for field in ("act", "calls"):
        if field in fields:
            raise _wrong(field, "belongs into steps where there are steps")
    if not isinstance(listed, list) or len(listed) > _MOST_STEPS:
        raise _wrong("steps", f"must be an array of at most {_MOST_STEPS} objects")
    return tuple(_listed_step(each, place, len(listed)) for place, each in enumerate(listed))


def _listed_step(value: object, place: int, steps: int) -> Step:
    path = f"steps[{place}]"
    fields = _object(value, path, ("act", "calls"))
    if "act" not in fields:
        raise _wrong(f"{path}.act", "is missing")
    step = _step(fields, f"{path}.")
    if step.calls is None and place < steps - 1:
        raise _wrong(f"{path}.calls", "is missing: only the last step may go on for ever")
    return step


def _step(fields: Mapping[str, object], prefix: str) -> Step:
    act = fields.get("act")
    if act is not None and (not isinstance(act, str) or act not in BY_NAME):
        raise _wrong(f"{prefix}act", f"must be null or one of: {', '.join(BY_NAME)}")
    return Step(act, _count(fields.get("calls"), f"{prefix}calls", 1, None))


def _latency(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 86_400:
        raise _wrong("latency", "must be a number of seconds, 0 or more, less than a day")
    return float(value)


def _count(value: object, field: str, least: int, most: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(field, "must be an integer")
    if value < least or (most is not None and value > most):
        raise _wrong(field, f"must be at least {least}" + (f", at most {most}" if most else ""))
    return value


def _object(value: object, path: str, known: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _wrong(path or _WHOLE, "must be a JSON object")
    for name in value:
        if name not in known:
            field = f"{path}.{name}" if path else name
            raise _wrong(field[:_SHOWN_OF_A_NAME], f"is unknown; known are {', '.join(known)}")
    return value


def _wrong(field: str, problem: str) -> ScenarioRefused:
    return ScenarioRefused(422, field, problem)
