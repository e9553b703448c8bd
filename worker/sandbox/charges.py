"""The counts that `GET /charges` answers with: calls and charges, as on the provider's bill."""

import hmac
from collections import Counter, deque
from dataclasses import dataclass, field

_MINUTE = 60


def subject_digest(number: str) -> str:
    """Return the name under which an ID number is counted: HMAC-SHA256, 16 hex digits.

    The key `sandbox` is public, so that a test can compute the digest too. It keeps ID numbers out
    of output that people read, no more than that: the sandbox is for invented people.
    """
    return hmac.digest(b"sandbox", number.encode(), "sha256").hex()[:16]


class SlidingMinute:
    """Keeps the times of the last 60 s: 32 bytes each, 2 MB at 1,000 a second.

    A time leaves when it is 60 s old, so two exactly 60 s apart never count together.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> int:
        """Add `now`, epoch seconds, and return how many times there are with it."""
        self._times.append(now)
        return self._count(now)

    def add_below(self, limit: int, now: float) -> bool:
        """Add `now` and return True where fewer than `limit` are there; else return False."""
        if self._count(now) >= limit:
            return False
        self._times.append(now)
        return True

    def _count(self, now: float) -> int:
        times, oldest = self._times, now - _MINUTE
        while times and times[0] <= oldest:
            times.popleft()
        return len(times)


class PeakRates:
    """The most calls that a minute has had, for each way to count one."""

    def __init__(self) -> None:
        self._calendar_minute, self._in_calendar_minute = 0, 0
        self._whole_seconds, self._exact = SlidingMinute(), SlidingMinute()
        #: In one calendar minute of UTC.
        self.calls_per_minute = 0
        #: In any 60 whole seconds on end: up to twice as many, at a minute's turn.
        self.calls_per_60_seconds = 0
        #: Within any 60 s, to the call: what a sliding limit would have seen.
        self.max_calls_per_minute = 0

    def count(self, now: float) -> None:
        """Count one call at `now`, epoch seconds."""
        second = int(now)
        if second // _MINUTE != self._calendar_minute:
            self._calendar_minute, self._in_calendar_minute = second // _MINUTE, 0
        self._in_calendar_minute += 1
        self.calls_per_minute = max(self.calls_per_minute, self._in_calendar_minute)
        self.calls_per_60_seconds = max(self.calls_per_60_seconds, self._whole_seconds.add(second))
        self.max_calls_per_minute = max(self.max_calls_per_minute, self._exact.add(now))


@dataclass(slots=True)
class Counts:
    """The counts since the start or the last reset. A reset makes new ones.

    All calls are POSTs to /v1/personal. The charges are explained in full: each was answered
    (`charges_answered`), or its act lost the answer (`acts` of `reset_after_charge`,
    `hang_after_charge`, `truncated`), or else its client left before the answer was sent, or still
    waits for it.
    """

    #: Calls that the sandbox's own checks refused (signature, nonce, body); the others are in
    #: `by_behaviour`, in `acts`, and under their person's `subject_digest`.
    refused: int = 0
    by_behaviour: Counter[str] = field(default_factory=Counter)
    #: What calls did in fact, by the act's name: `recovers_after_1` is once `unavailable`, then
    #: `match`; `throttled` is beyond a scenario's `calls_per_minute`.
    acts: Counter[str] = field(default_factory=Counter)
    #: Calls whose whole answer, a refusal too, was handed to the network.
    answered: int = 0
    #: Those of them that were charged.
    charges_answered: int = 0
    _calls_of: Counter[str] = field(default_factory=Counter)
    _charges_of: Counter[str] = field(default_factory=Counter)
    _peaks: PeakRates = field(default_factory=PeakRates)

    def count_refused(self, now: float) -> None:
        """Count a call that the sandbox's checks refused."""
        self.refused += 1
        self._peaks.count(now)

    def count_admitted(
        self, now: float, behaviour: str, act: str, number: str, charged: bool
    ) -> None:
        """Count a call that is about to be acted on, and its charge."""
        subject = subject_digest(number)
        self.by_behaviour[behaviour] += 1
        self.acts[act] += 1
        self._calls_of[subject] += 1
        self._charges_of[subject] += charged
        self._peaks.count(now)

    def count_answered(self, charged: bool) -> None:
        """Count a call as answered."""
        self.answered += 1
        self.charges_answered += charged

    def report(self) -> dict[str, object]:
        """Return the counts of this moment, as JSON has them."""
        return {
            "calls": self.refused + self.acts.total(),
            "charges": self._charges_of.total(),
            "refused": self.refused,
            "by_behaviour": dict(self.by_behaviour),
            "by_subject": {
                subject: {"calls": calls, "charges": self._charges_of[subject]}
                for subject, calls in self._calls_of.items()
            },
            "max_calls_per_subject": max(self._calls_of.values(), default=0),
            "max_charges_per_subject": max(self._charges_of.values(), default=0),
            "calls_per_minute": self._peaks.calls_per_minute,
            "calls_per_60_seconds": self._peaks.calls_per_60_seconds,
            "max_calls_per_minute": self._peaks.max_calls_per_minute,
            "acts": dict(self.acts),
            "answered": self.answered,
            "charges_answered": self.charges_answered,
        }
