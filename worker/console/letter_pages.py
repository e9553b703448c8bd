"""Pages of a queue for people: its messages by group, what would be done to them, and doing it.

What is done is done to the messages that were shown, and to no other: a plan remembers them.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from worker.console.application import Application, Visit
from worker.console.asking import LETTER_SECONDS, Action, Actions, ask
from worker.console.boxes import Box, Wanted, grouped, sources
from worker.console.guard import Refusal
from worker.telemetry.clock import SystemClock

R = TypeVar("R")
_VERBS = ("replay", "drop")
# Messages on one page; a group's sample.
_SHOWN, _SAMPLE = 50, 3
_LONGEST_WHAT = 200
# Each remembers every message of it.
_PLANS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What somebody was shown and may confirm, once."""

    verb: str
    what: str
    origins: list[Any]


class LetterPages:
    """The pages of one queue."""

    def __init__(self, box: Box, actions: Actions) -> None:
        self._box = box
        self._actions = actions
        self._looking = asyncio.Lock()
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def add_to(self, application: Application) -> None:
        """Add our pages."""
        path = f"/{self._box.path}"
        application.add("GET", path, self.show)
        application.add("GET", f"{path}/plan", self.plan)
        application.add("POST", f"{path}/act", self.act)

    async def show(self, visit: Visit) -> web.Response:
        """Show the groups with a sample of each, or the messages that are asked for."""
        wanted = _wanted(visit)
        items = await self._ask(lambda: self._box.look(wanted))
        return visit.page(
            "letters",
            box=self._box,
            wanted=wanted,
            groups=grouped(items),
            sources=sources,
            total=len(items),
            shown=_SAMPLE if wanted == Wanted() else _SHOWN,
            latest=self._actions.latest,
        )

    async def plan(self, visit: Visit) -> web.Response:
        """Say what a replay or a drop would do: nothing is done yet."""
        verb, wanted = visit.asked("verb"), _wanted(visit)
        if verb not in _VERBS:
            raise Refusal(400, "messages can be replayed or dropped")
        items = await self._ask(lambda: self._box.look(wanted))
        prospects = {}
        if verb == "replay":
            prospects = await ask(lambda: self._box.prospects(items))
        # As the messages say it: what the address says may be anything, and this is logged.
        what = f"{self._box.path} {', '.join(sorted({each.group for each in items}))}"
        name = secrets.token_urlsafe(16)
        self._plans[name] = Plan(verb, what[:_LONGEST_WHAT], [each.origin for each in items])
        if len(self._plans) > _PLANS_KEPT:
            self._plans.popitem(last=False)
        return visit.page(
            "plan",
            box=self._box,
            verb=verb,
            plan=name,
            items=items[:_SHOWN],
            total=len(items),
            prospects={words: count for words, count in prospects.items() if count},
        )

    async def act(self, visit: Visit) -> web.Response:
        """Carry a plan out."""
        user = visit.application.guard.acting(visit.visitor)
        plan = self._plans.pop(await visit.given("plan"), None)
        if plan is None:
            raise Refusal(409, "this was done already, or is too old: look again")
        act, done = self._box.order(plan.verb, plan.origins, self._actions.go_on)
        now, of = SystemClock().now(), len(plan.origins)
        action = Action(now, user, plan.verb, plan.what, of, done)
        async with self._looking:
            await self._actions.carry_out(action, act)
        # While it goes on it holds the queue: how far it is stands on the overview as well.
        return visit.go(f"/{self._box.path}" if action.is_over else "/")

    async def _ask(self, function: Callable[[], R]) -> R:
        """Ask the queue, one after another: two who look at a time would each see a part."""
        async with self._looking:
            return await ask(function, LETTER_SECONDS)


def _wanted(visit: Visit) -> Wanted:
    return Wanted(*(visit.asked(name) for name in ("group", "source", "id", "letter")))
