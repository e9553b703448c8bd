"""The gate in front of the provider: whether a call may begin now, and what calls teach it.

It holds the breaker and the allowance of this worker (`core`: values, no threads) under one lock.
Callers enter and leave; the warden waits for the breaker's changes and acts on them. A pause that
a person has ordered stands beside the breaker: while it holds nobody enters, and nobody probes.
"""

from __future__ import annotations

from math import inf
from threading import Condition
from typing import TYPE_CHECKING

from worker.core import breaker
from worker.core.breaker import (
    Allowance,
    BreakerPolicy,
    BreakerState,
    Closed,
    Open,
    ParkReason,
    Probing,
)
from worker.core.operations import NOTICE_SECONDS, Pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.core.claims import Postponed
    from worker.core.outcome import CallReport
    from worker.ports import Clock


# A request that has failed before tells little about the provider: others are tried first, as many
# times as it takes to get past a handful of such requests at the head of the queue.
_MOST_PASSED_OVER = 10
# Nobody knows when a pause ends: what is handed back waits in the shortest delay queue.
_PAUSED_FOR = 0.0

GateState = BreakerState | Pause
"""What the warden goes by: the pause, or else the breaker."""


class Gate:
    """Lets calls through. `on_allowance` learns how many may be under way, under the gate's lock.

    `chance` returns a number from 0 to 1.
    """

    def __init__(
        self,
        policy: BreakerPolicy,
        ceiling: int,
        clock: Clock,
        chance: Callable[[], float],
        on_allowance: Callable[[int], None],
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._on_allowance = on_allowance
        self._state: BreakerState = Closed()
        self._allowance = Allowance.full(ceiling)
        self._under_way = 0
        self._queueing = 0
        self._passed_over = 0
        self._hold: Pause | None = None
        self._told_at = inf
        """When we last asked for people's orders and heard; for ever fresh until `listen`."""
        self._closing = False
        self._changed = Condition()

    # Callers.

    def enter(self, not_before: float, *, called_before: bool = False) -> bool:
        """Wait until a call may begin, at `not_before` at the earliest; False: none may.

        Whoever entered must leave. A request that was `called_before` is a poor probe: it may fail
        for a reason of its own, or be in doubt and lose its last call.
        """
        with self._changed:
            while True:
                state = self._now_in()
                if self._hold or (isinstance(state, Open) and breaker.is_outage(state)):
                    return False
                if isinstance(state, Probing) and called_before and self._pass_over():
                    return False
                now = self._clock.monotonic()
                wait = max(not_before, self._allowance.hold_until) - now
                if wait <= 0 and self._under_way < self._allowance.calls:
                    self._under_way += 1
                    return True
                self._queueing += 1
                self._changed.wait(wait if wait > 0 else None)
                self._queueing -= 1

    def heard(self, report: CallReport) -> bool:
        """Learn from a call's end; True where it belongs to an outage, not to its request."""
        with self._changed:
            now = self._clock.monotonic()
            before = self._now_in()
            self._allow(self._allowance.after(report, now))
            state = breaker.after_call(before, report, self._policy, now, self._chance())
            self._become(state)
            if breaker.concerns_everybody(report):
                # While others were served it may be this request alone: it is not asked for ever.
                return breaker.is_outage(before)
            return breaker.is_outage(before) or breaker.is_outage(state)

    def leave(self) -> None:
        """Make room for another call."""
        with self._changed:
            self._under_way -= 1
            if self._queueing:  # else only the warden waits, and this is no news for it
                self._changed.notify_all()

    # The claimer.

    @property
    def open_for(self) -> float | None:
        """Seconds until it is worth asking again while no call may begin, else None."""
        with self._changed:
            if self._hold:
                return _PAUSED_FOR
            state = self._now_in()
            if isinstance(state, Open):
                return max(0.0, state.until - self._clock.monotonic())
            return None

    def run_short(self, postponed: Postponed) -> None:
        """Learn that today's budget is spent."""
        with self._changed:
            now = self._clock.monotonic()
            state = breaker.after_shortage(self._now_in(), postponed.seconds, self._policy, now)
            self._become(state)

    @property
    def is_told(self) -> bool:
        """Whether people's orders are known as they were a moment ago.

        A pause may have been ordered while the database was away: who claims first thing when it
        is back must have heard.
        """
        with self._changed:
            return self._clock.monotonic() - self._told_at <= NOTICE_SECONDS

    # The fleet's watch.

    def listen(self) -> None:
        """Take nobody's silence for leave any more: orders come by `tell`, again and again."""
        with self._changed:
            self._told_at = -inf

    def tell(self, hold: Pause | None, asked_at: float) -> None:
        """Hear what people order, as it was at a time (monotonic clock)."""
        with self._changed:
            before, self._hold, self._told_at = self._hold, hold, asked_at
            if (before is None) is not (hold is None):
                self._changed.notify_all()

    # Anybody.

    @property
    def hold(self) -> Pause | None:
        """The pause that a person has ordered, or None."""
        with self._changed:
            return self._hold

    @property
    def parked(self) -> ParkReason | None:
        """Why the worker takes no messages as it usually does, or None."""
        with self._changed:
            if self._hold:
                return ParkReason.PAUSED
            state = self._now_in()
            return None if isinstance(state, Closed) else state.reason

    @property
    def state(self) -> BreakerState:
        """The breaker's state now."""
        with self._changed:
            return self._now_in()

    @property
    def calls(self) -> tuple[int, int]:
        """How many calls are under way, and how many may be."""
        with self._changed:
            return self._under_way, self._allowance.calls

    # The warden.

    def await_change(self, seen: GateState) -> GateState | None:
        """Wait for another kind of state than the one seen; None when the gate is closed down."""
        with self._changed:
            while not self._closing:
                state = self._hold or self._now_in()
                if type(state) is not type(seen):
                    return state
                until = state.until if isinstance(state, Open) else None
                wait = None if until is None else until - self._clock.monotonic()
                self._changed.wait(wait)
            return None

    def shut_down(self) -> None:
        """Let the warden go; calls are let through as before."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _pass_over(self) -> bool:
        self._passed_over += 1
        return self._passed_over <= _MOST_PASSED_OVER

    def _now_in(self) -> BreakerState:
        state = breaker.at(self._state, self._clock.monotonic())
        self._become(state)
        return state

    def _become(self, state: BreakerState) -> None:
        if type(state) is not type(self._state):
            if isinstance(state, Open) and breaker.is_outage(state):
                self._allow(Allowance.cautious(self._allowance.ceiling))
            self._passed_over = 0
            self._changed.notify_all()
        self._state = state

    def _allow(self, allowance: Allowance) -> None:
        before, self._allowance = self._allowance.calls, allowance
        if allowance.calls != before:
            self._on_allowance(allowance.calls)
            self._changed.notify_all()
