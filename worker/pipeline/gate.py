"""The gate in front of the provider: whether a call may begin now, and what calls teach it.

It holds the breaker and the allowance of this worker (`core`: values, no threads) under one lock.
Callers enter and report how their call ended; the breaker thread waits for changes and acts on
them. A pause that a person has ordered stands beside the breaker: while it lasts nobody enters,
and nobody probes. And while the database is away no messages are taken: they would only wait here,
and come back with each connection or process that is lost, until the broker gives them up.
"""

from collections.abc import Callable
from math import inf
from threading import Condition

from worker.core import breaker
from worker.core.breaker import Allowance, BreakerState, Closed, Open, ParkReason, Probing
from worker.core.claims import Postponed, Shortage
from worker.core.operations import NOTICE_SECONDS, Pause
from worker.core.outcome import CallReport
from worker.pipeline.work import DatabaseAway, GateView
from worker.ports import Clock

# A request that has failed before tells little about the provider: others are tried first, as many
# times as it takes to get past a handful of such requests at the head of the queue.
_MOST_PASSED_OVER = 10
# A database that restarts is back in 1 to 5 s, and until then what we hold can wait for it.
AWAY_AFTER = 5.0
# Whatever was computed: the database's clock may be set right by then.
_LONGEST_WITHOUT_BULK = 3600.0
_UNKNOWN = "nobody knows whether the fleet is paused"


class Gate:
    """Lets calls through; `chance` returns a number from 0 to 1."""

    def __init__(
        self, policy: breaker.BreakerPolicy, ceiling: int, clock: Clock, chance: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._state: BreakerState = Closed()
        self._allowance = Allowance.full(ceiling)
        self._under_way = self._waiting = self._passed_over = 0
        self._bulk_from = -inf
        """From when on bulk may be called: its budget of the day is spent until then."""
        self._pause: Pause | None = None
        self._pause_read_at = inf
        """When people's order was last read; always fresh until `expect_pause_reports`."""
        self._ledger_is_away = False
        self._closing = False
        self._last_call: CallReport | None = None
        self._changed = Condition()
        self.pause_problem = _UNKNOWN
        """Why people's order could not be read."""

    # Callers.

    def enter(self, not_before: float, *, called_before: bool = False) -> bool:
        """Wait until a call may begin, at `not_before` at the earliest; False: none may.

        Whoever entered must say when it is over (`after_call`). A request that was `called_before`
        is a poor probe: it may fail for a reason of its own, or be in doubt and lose its last call.
        """
        with self._changed:
            while True:
                state = self._now_in()
                if self._closing or self._pause:
                    return False
                if isinstance(state, Open) and breaker.is_outage(state):
                    return False
                if not self.pause_is_known:
                    # Asked here, where a call begins: this process may have stood still since.
                    self._changed.wait()
                    continue
                if isinstance(state, Probing) and called_before:
                    self._passed_over += 1
                    if self._passed_over <= _MOST_PASSED_OVER:
                        return False
                wait = max(not_before, self._allowance.hold_until) - self._clock.monotonic()
                if wait <= 0 and self._under_way < self._allowance.calls:
                    self._under_way += 1
                    return True
                self._waiting += 1
                self._changed.wait(wait if wait > 0 else None)
                self._waiting -= 1

    def after_call(self, report: CallReport | None) -> bool:
        """Make room, and learn how the call ended; None: its time was over, and none was made.

        Returns whether that belongs to an outage, not to its request.
        """
        with self._changed:
            self._under_way -= 1
            if self._waiting:  # else only the breaker thread waits, and this is no news for it
                self._changed.notify_all()
            if report is None:
                return False
            self._last_call = report
            now = self._clock.monotonic()
            before = self._now_in()
            self._allow(self._allowance.after(report, now))
            state = breaker.after_call(before, report, self._policy, now, self._chance())
            self._become(state)
            if breaker.concerns_everybody(report):
                # While others were served it may be this request alone: it is not asked for ever.
                return breaker.is_outage(before)
            return breaker.is_outage(before) or breaker.is_outage(state)

    # The claimer.

    @property
    def open_for(self) -> float | None:
        """Seconds until it is worth asking again while no call may begin, else None."""
        with self._changed:
            if self._pause:
                return 0.0  # nobody knows when it ends: the shortest delay queue will do
            state, now = self._now_in(), self._clock.monotonic()
            return max(0.0, state.until - now) if isinstance(state, Open) else None

    def budget_spent(self, postponed: Postponed) -> None:
        """Learn that today's budget is spent, or bulk's part of it."""
        with self._changed:
            now = self._clock.monotonic()
            if postponed.shortage is Shortage.DAILY_BUDGET:
                wait = postponed.seconds
                self._become(breaker.after_shortage(self._now_in(), wait, self._policy, now))
            else:
                self._bulk_from = now + min(postponed.seconds, _LONGEST_WITHOUT_BULK)
                self._changed.notify_all()

    @property
    def bulk_closed_for(self) -> float | None:
        """Seconds until it is worth asking again for bulk while its budget is spent, else None."""
        left = self._bulk_from - self._clock.monotonic()
        return left if left > 0 else None

    @property
    def pause_is_known(self) -> bool:
        """Whether it was read a moment ago if people have ordered a pause.

        A pause may have been ordered while the database was away, or this process stood still:
        before anything is claimed or called, the order must have been read.
        """
        return self._clock.monotonic() - self._pause_read_at <= NOTICE_SECONDS

    # Whoever reads people's orders, or uses the ledger.

    def expect_pause_reports(self) -> None:
        """Claim and call nothing from now on unless `set_pause` was called a moment ago."""
        self._pause_read_at = -inf

    def set_pause(self, pause: Pause | None, asked_at: float) -> None:
        """Pause, or go on: as it was ordered at a time (monotonic clock)."""
        with self._changed:
            was_known = self.pause_is_known
            before, self._pause, self._pause_read_at = self._pause, pause, asked_at
            self.pause_problem = _UNKNOWN
            if not was_known or (before is None) is not (pause is None):
                self._changed.notify_all()

    def pause_unknown(self, reason: str) -> None:
        """Learn why people's order could not be read; what was read last holds."""
        self.pause_problem = reason

    def set_ledger(self, *, away: bool) -> None:
        """Learn whether claims or records have failed for some seconds: a read may still work."""
        with self._changed:
            if self._ledger_is_away is not away:
                self._ledger_is_away = away
                self._changed.notify_all()

    # Anybody.

    @property
    def parked(self) -> ParkReason | None:
        """Why the worker takes no messages as it usually does, or None."""
        return self.view.parked

    @property
    def because(self) -> str | None:
        """Why it is parked: people's own words, or the last call's end; None: there is neither."""
        with self._changed:
            state, told = self.view.state, self._last_call
        if isinstance(state, Pause):
            return state.reason
        if isinstance(state, DatabaseAway) or not breaker.is_outage(state):
            return None
        return None if told is None else told.in_words

    @property
    def state(self) -> BreakerState:
        """The breaker's state now."""
        with self._changed:
            return self._now_in()

    @property
    def calls(self) -> tuple[int, int]:
        """How many calls are under way, and how many may be."""
        return self._under_way, self._allowance.calls

    # The breaker thread.

    @property
    def view(self) -> GateView:
        """What it goes by now."""
        with self._changed:
            now = self._clock.monotonic()
            is_away = self._ledger_is_away or now - self._pause_read_at >= AWAY_AFTER
            away = DatabaseAway() if is_away else None
            state = self._pause or away or self._now_in()
            return GateView(state, self._allowance.calls, self._bulk_from <= now)

    def await_change(self, seen: GateView) -> GateView | None:
        """Wait for another kind of state, or anything else, than was seen; None: closed down."""
        with self._changed:
            while not self._closing:
                view = self.view
                if type(view.state) is not type(seen.state) or view[1:] != seen[1:]:
                    return view
                until = view.state.until if isinstance(view.state, Open) else inf
                if not view.bulk:
                    until = min(until, self._bulk_from)
                if not isinstance(view.state, Pause | DatabaseAway):
                    until = min(until, self._pause_read_at + AWAY_AFTER)
                self._changed.wait(None if until == inf else until - self._clock.monotonic())
            return None

    def shut_down(self) -> None:
        """Let nobody enter any more, and the breaker thread go; calls under way may end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

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
            self._changed.notify_all()
