"""The script: one scenario being carried out, call by call. The server's thread only."""

from collections import deque
from dataclasses import replace

from worker.sandbox.magic import BY_NAME, THROTTLED, Magic
from worker.sandbox.minute import SlidingMinute
from worker.sandbox.scenario import Scenario


class Script:
    """Says of each call how it acts, and uses its steps up."""

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
