"""The count of calls and charges: what the provider's bill would say. Any thread may enter."""

import hmac
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Condition, Lock

from worker.sandbox.minute import SlidingMinute

_MINUTE = 60


@dataclass(frozen=True, slots=True)
class SubjectCounts:
    """Calls and charges of one person."""

    calls: int
    charges: int


@dataclass(frozen=True, slots=True)
class ChargeCounts:
    """The counts at one moment; `GET /charges` is this as JSON.

    `calls` are all POSTs to /v1/personal, `refused` those of them that the sandbox's own checks
    refused (signature, nonce, body); the others are in `by_behaviour`, in `acts`, and in
    `by_subject` under the person's `subject_digest`.

    The charges are explained in full: each was answered (`charges_answered`), or its act lost the
    answer (`acts` of `reset_after_charge`, `hang_after_charge`, `truncated`), or else its client
    left before the answer was sent, or still waits for it.
    """

    calls: int
    charges: int
    refused: int
    by_behaviour: Mapping[str, int]
    by_subject: Mapping[str, SubjectCounts]
    max_calls_per_subject: int
    max_charges_per_subject: int
    #: The most calls in one calendar minute of UTC, refused ones too.
    calls_per_minute: int
    #: The most calls in any 60 whole seconds on end: up to twice as many, at a minute's turn.
    calls_per_60_seconds: int
    #: The most calls within any 60 s, to the call: what a sliding limit would have seen.
    max_calls_per_minute: int
    #: What calls did in fact, by the act's name: `recovers_after_1` is once `unavailable`, then
    #: `match`; `throttled` is beyond a scenario's `calls_per_minute`.
    acts: Mapping[str, int]
    #: Calls whose whole answer, a refusal too, was handed to the network.
    answered: int
    #: Those of them that were charged.
    charges_answered: int


def subject_digest(number: str) -> str:
    """Return the name under which an ID number is counted: HMAC-SHA256, 16 hex digits.

    The key `sandbox` is public, so that a test can compute the digest too. It keeps ID numbers out
    of output that people read, no more than that: the sandbox is for invented people.
    """
    return hmac.digest(b"sandbox", number.encode(), "sha256").hex()[:16]


class PeakRate:
    """The most calls in a minute, from one counter a second: exact, and 60 numbers of memory."""

    def __init__(self) -> None:
        self._minute = 0
        self._in_minute = 0
        self._seconds: deque[list[int]] = deque()
        self._in_seconds = 0
        self.per_minute = 0
        self.per_60_seconds = 0

    def count(self, now: float) -> None:
        """Count one call at `now`, epoch seconds."""
        second = int(now)
        if second // _MINUTE != self._minute:
            self._minute, self._in_minute = second // _MINUTE, 0
        self._in_minute += 1
        if self._in_minute > self.per_minute:
            self.per_minute = self._in_minute
        self._slide(second)
        if self._in_seconds > self.per_60_seconds:
            self.per_60_seconds = self._in_seconds

    def _slide(self, second: int) -> None:
        seconds = self._seconds
        if not seconds or seconds[-1][0] != second:
            seconds.append([second, 0])
        while seconds[0][0] <= second - _MINUTE:
            self._in_seconds -= seconds.popleft()[1]
        seconds[-1][1] += 1
        self._in_seconds += 1


class Charges:
    """Counts under one lock; a waiter is woken by every call.

    A reset begins a new era: an answer to a call of an earlier one is not counted any more.
    """

    def __init__(self) -> None:
        # Entered bare on a call's path: a Condition's own `with` is Python code, ten times slower.
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._waiters = 0
        self._era = 0
        self._zero()

    def _zero(self) -> None:
        self._calls = 0
        self._charges = 0
        self._refused = 0
        self._by_behaviour: Counter[str] = Counter()
        self._subject_calls: Counter[str] = Counter()
        self._subject_charges: Counter[str] = Counter()
        self._peak = PeakRate()
        self._minute = SlidingMinute()
        self._most_in_minute = 0
        self._acts: Counter[str] = Counter()
        self._answered = 0
        self._charges_answered = 0

    def reset(self) -> None:
        """Set every count to zero."""
        with self._lock:
            self._era += 1
            self._zero()

    def count_refused(self, now: float) -> int:
        """Count a call that the sandbox's checks refused; return its era."""
        with self._lock:
            self._refused += 1
            self._count_call(now)
            return self._era

    def count_admitted(
        self, now: float, behaviour: str, act: str, subject: str, charged: bool
    ) -> int:
        """Count a call that is about to be acted on, and its charge; return its era."""
        with self._lock:
            self._by_behaviour[behaviour] += 1
            self._acts[act] += 1
            self._subject_calls[subject] += 1
            if charged:
                self._charges += 1
                self._subject_charges[subject] += 1
            self._count_call(now)
            return self._era

    def count_answered(self, era: int, charged: bool) -> None:
        """Count a call of `era` as answered."""
        with self._lock:
            if era == self._era:
                self._answered += 1
                self._charges_answered += charged

    def _count_call(self, now: float) -> None:
        self._calls += 1
        self._peak.count(now)
        in_minute = self._minute.add(now)
        if in_minute > self._most_in_minute:
            self._most_in_minute = in_minute
        if self._waiters:
            self._changed.notify_all()

    def wait_for_calls(self, calls: int, timeout: float) -> bool:
        """Return True as soon as so many calls have arrived, False after `timeout` seconds."""
        with self._changed:
            self._waiters += 1
            try:
                return self._changed.wait_for(lambda: self._calls >= calls, timeout)
            finally:
                self._waiters -= 1

    def counts(self) -> ChargeCounts:
        """Return the counts of this moment."""
        with self._changed:
            return ChargeCounts(
                calls=self._calls,
                charges=self._charges,
                refused=self._refused,
                by_behaviour=dict(self._by_behaviour),
                by_subject={
                    subject: SubjectCounts(calls, self._subject_charges[subject])
                    for subject, calls in self._subject_calls.items()
                },
                max_calls_per_subject=max(self._subject_calls.values(), default=0),
                max_charges_per_subject=max(self._subject_charges.values(), default=0),
                calls_per_minute=self._peak.per_minute,
                calls_per_60_seconds=self._peak.per_60_seconds,
                max_calls_per_minute=self._most_in_minute,
                acts=dict(self._acts),
                answered=self._answered,
                charges_answered=self._charges_answered,
            )
