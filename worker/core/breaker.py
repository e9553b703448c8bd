"""What the ends of calls say about the next ones: a circuit breaker and a limit of calls at once.

The breaker says when one worker stops calling:

    Closed ──5 failures in a row, or one that would meet everybody──> Open
      ^                                                                 │ its time is over
      └──────────── a probe that succeeds ───────── Probing <───────────┘
                                                       └── one that fails ──> Open, for longer

The allowance says how many calls may be under way: additive increase, multiplicative decrease,
for the provider does not say how much it bears. Each throttled call halves it, at most once per
round of calls; each success raises it, quickly up to where it last went well and then by one per
round.

Time is seconds on the monotonic clock and chance a number from 0 to 1; both are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from worker.core.outcome import CallClass, CallReport


class ParkReason(StrEnum):
    """Why a worker takes no messages."""

    PROVIDER_FAILING = "provider_failing"
    """Calls fail one after the other, of different requests."""
    CREDENTIALS = "credentials"
    """The provider refuses our key, signature or clock."""
    QUOTA = "quota"
    """The account's quota is used up."""
    THROTTLED = "throttled"
    """The provider asked us to wait."""
    DAILY_BUDGET = "daily_budget"
    """DAILY_CALL_BUDGET is spent."""
    PAUSED = "paused"
    """A person has paused all workers (`operations.Pause`); the breaker never opens so."""
    DATABASE = "database"
    """The database does not answer; the breaker never opens so either."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """`failures` in a row open it; the first wait doubles up to the longest (seconds)."""

    failures: int = 5
    first_wait: float = 5.0
    longest_wait: float = 120.0

    def wait(self, openings: int, chance: float) -> float:
        """Return how long the opening after so many others lasts, ± 20 % by chance.

        Replicas that stopped together would otherwise probe together.
        """
        doubled = self.first_wait * 2.0 ** min(openings, 30)
        return min(doubled, self.longest_wait) * (0.8 + 0.4 * chance)


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls are made. `openings` is how often it opened since all was well."""

    failures: int = 0
    openings: int = 0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """No call is made until `until`."""

    reason: ParkReason
    until: float
    openings: int


@dataclass(frozen=True, slots=True)
class Probing:
    """One call at a time finds out whether it works again."""

    reason: ParkReason
    openings: int


BreakerState = Closed | Open | Probing

# A pause that the provider asked for is waited out in place up to this many seconds: to stop
# consuming and begin again takes about as long.
SHORT_HOLD = 5.0

# After so many successes an outage is over, and the next one begins with the shortest wait. Fewer
# would let a provider that fails every few calls be asked at the shortest interval for ever.
_WELL_AGAIN = 20

_AT_ONCE = {
    CallClass.CREDENTIALS: ParkReason.CREDENTIALS,
    CallClass.QUOTA: ParkReason.QUOTA,
}


def after_call(
    state: BreakerState, report: CallReport, policy: BreakerPolicy, now: float, chance: float
) -> BreakerState:
    """Return the state after one more call's end.

    While it is open, calls that began before end without changing it.
    """
    if isinstance(state, Open):
        return state
    reason = _reason_at_once(report)
    least = report.retry_after or 0.0 if reason is ParkReason.THROTTLED else 0.0
    if reason is None:
        if _succeeded(report):
            return _after_success(state)
        if isinstance(state, Closed) and state.failures + 1 < policy.failures:
            return Closed(state.failures + 1, state.openings)
        reason = ParkReason.PROVIDER_FAILING
        # That a budget was spent says nothing of the provider.
        if isinstance(state, Probing) and is_outage(state):
            reason = state.reason
    wait = max(policy.wait(state.openings, chance), least)
    return Open(reason, now + wait, state.openings + 1)


def after_shortage(state: BreakerState, seconds: float, policy: BreakerPolicy, now: float) -> Open:
    """Return the state when today's budget is spent: asked again at the longest interval.

    The budget may be raised before the day is over. What was granted before is still called, but
    not where calls fail: an outage goes on.
    """
    if isinstance(state, Open) and is_outage(state):
        return state
    return Open(ParkReason.DAILY_BUDGET, now + min(seconds, policy.longest_wait), state.openings)


def is_outage(state: BreakerState) -> bool:
    """Return whether calls fail: with a spent budget those that were granted are still made."""
    return not isinstance(state, Closed) and state.reason is not ParkReason.DAILY_BUDGET


def concerns_everybody(report: CallReport) -> bool:
    """Return whether this fault would meet every request: credentials and quota."""
    return report.call_class in _AT_ONCE


def at(state: BreakerState, now: float) -> BreakerState:
    """Return the state at a time: an opening ends with a probe."""
    if isinstance(state, Open) and now >= state.until:
        return Probing(state.reason, state.openings)
    return state


def _after_success(state: Closed | Probing) -> Closed:
    if isinstance(state, Closed) and state.openings == 0:
        return state if state.failures == 0 else Closed()
    successes = state.successes + 1 if isinstance(state, Closed) else 0
    if successes >= _WELL_AGAIN:
        return Closed()
    return Closed(openings=state.openings, successes=successes)


def _reason_at_once(report: CallReport) -> ParkReason | None:
    if report.call_class is CallClass.THROTTLED:
        return ParkReason.THROTTLED if (report.retry_after or 0.0) > SHORT_HOLD else None
    return _AT_ONCE.get(report.call_class)


def _succeeded(report: CallReport) -> bool:
    """Return whether the provider did its work: a refusal of one request is an answer too.

    An answer that contradicts the contract is none: a gateway's page with status 200 would
    otherwise end every request of the backlog.
    """
    return report.call_class in (CallClass.ANSWERED, CallClass.REFUSED)


_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Allowance:
    """Calls that may be under way at once, of at most `ceiling`.

    Below `quick_below` each success adds one; that doubles it per round. `cut_at` is when it was
    last halved: calls that began before belong to the same round and do not halve it again.
    `hold_until` is until when the provider wants no call at all.
    """

    limit: float
    ceiling: int
    quick_below: float
    cut_at: float = _NEVER
    hold_until: float = _NEVER

    @classmethod
    def full(cls, ceiling: int) -> Allowance:
        """Return an allowance that nothing has reduced."""
        return cls(float(ceiling), ceiling, float(ceiling))

    @classmethod
    def cautious(cls, ceiling: int) -> Allowance:
        """Return the allowance after an outage: one call, and more as they succeed."""
        return cls(1.0, ceiling, float(ceiling))

    @property
    def calls(self) -> int:
        """The whole number of calls at once, at least 1."""
        return max(1, int(self.limit))

    def after(self, report: CallReport, now: float) -> Allowance:
        """Return the allowance after a call's end."""
        match report.call_class:
            case CallClass.THROTTLED:
                return self._cut(report, now)
            case CallClass.ANSWERED | CallClass.REFUSED if self.limit < self.ceiling:
                step = 1.0 if self.limit < self.quick_below else 1.0 / self.limit
                return replace(self, limit=min(float(self.ceiling), self.limit + step))
            case _:
                return self

    def _cut(self, report: CallReport, now: float) -> Allowance:
        held = self
        # A longer pause opens the breaker.
        if report.retry_after is not None and report.retry_after <= SHORT_HOLD:
            held = replace(self, hold_until=max(self.hold_until, now + report.retry_after))
        if now - report.seconds < self.cut_at:
            return held
        half = max(1.0, self.limit / 2)
        return replace(held, limit=half, quick_below=half, cut_at=now)
