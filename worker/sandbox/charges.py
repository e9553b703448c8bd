"""The count of calls and charges: what the provider's bill would say. Any thread may enter."""

import hmac
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Condition

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
    refused (signature, nonce, body); the others are in `by_behaviour`, and in `by_subject` under
    the person's `subject_digest`.
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
        self.per_minute = max(self.per_minute, self._in_minute)
        self._slide(second)
        self.per_60_seconds = max(self.per_60_seconds, self._in_seconds)

    def _slide(self, second: int) -> None:
        seconds = self._seconds
        if not seconds or seconds[-1][0] != second:
            seconds.append([second, 0])
        while seconds[0][0] <= second - _MINUTE:
            self._in_seconds -= seconds.popleft()[1]
        seconds[-1][1] += 1
        self._in_seconds += 1


class Charges:
    """Counts under one lock; a waiter is woken by every call."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._zero()

    def _zero(self) -> None:
        self._calls = 0
        self._charges = 0
        self._refused = 0
        self._by_behaviour: Counter[str] = Counter()
        self._subject_calls: Counter[str] = Counter()
        self._subject_charges: Counter[str] = Counter()
        self._peak = PeakRate()

    def reset(self) -> None:
        """Set every count to zero."""
        with self._changed:
            self._zero()

    def count_refused(self, now: float) -> None:
        """Count a call that the sandbox's checks refused."""
        with self._changed:
            self._refused += 1
            self._count_call(now)

    def count_admitted(self, now: float, behaviour: str, subject: str, charged: bool) -> None:
        """Count a call that is about to be acted on, and its charge."""
        with self._changed:
            self._by_behaviour[behaviour] += 1
            self._subject_calls[subject] += 1
            if charged:
                self._charges += 1
                self._subject_charges[subject] += 1
            self._count_call(now)

    def _count_call(self, now: float) -> None:
        self._calls += 1
        self._peak.count(now)
        self._changed.notify_all()

    def wait_for_calls(self, calls: int, timeout: float) -> bool:
        """Return True as soon as so many calls have arrived, False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._calls >= calls, timeout)

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
            )
