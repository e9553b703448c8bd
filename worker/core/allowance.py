"""How many calls may be under way at once: additive increase, multiplicative decrease.

The provider does not say how much it bears. Each throttled call halves the allowance, at most
once per round of calls; each success raises it, quickly up to where it last went well and then by
one per round. Time is seconds on the monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from worker.core.breaker import SHORT_HOLD
from worker.core.outcome import CallClass

if TYPE_CHECKING:
    from worker.core.outcome import CallReport

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
