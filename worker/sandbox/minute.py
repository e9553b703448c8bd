"""The last 60 seconds of something, exact to the call. One thread, or its owner's lock."""

from collections import deque

_SECONDS = 60.0


class SlidingMinute:
    """Keeps the times of the last 60 s: 32 bytes each, 2 MB at 1,000 a second.

    A time leaves when it is 60 s old, so two exactly 60 s apart never count together.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> int:
        """Add `now`, epoch seconds, and return how many times there are with it."""
        times = self._times
        times.append(now)
        oldest = now - _SECONDS
        while times[0] <= oldest:
            times.popleft()
        return len(times)

    def add_below(self, limit: int, now: float) -> bool:
        """Add `now` and return True where fewer than `limit` are there; else return False."""
        times, oldest = self._times, now - _SECONDS
        while times and times[0] <= oldest:
            times.popleft()
        if len(times) >= limit:
            return False
        times.append(now)
        return True
